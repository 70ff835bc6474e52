"""The command line: one file for each command."""

from __future__ import annotations

import io
import logging
import os
import sys

from cyclopts import App
from cyclopts.exceptions import CycloptsError

from headgate import __version__
from headgate.bootstrap.logs import set_up_logging
from headgate.ports.ledger import LedgerError, SlugTaken, UnknownCampaign, UnknownPool
from headgate.settings import NoLedger, SettingsError

from . import audit, campaign, demo, doctor, edge, lab, node, operator, rehearsal, serve
from .options import CommandError, fail

app = App(
    name="headgate",
    help="Give a limited supply to a crowd: exactly, fairly, and fast.",
    version=__version__,
    help_format="markdown",
)
app.command(serve.serve)
app.command(campaign.app)
app.command(audit.audit)
app.command(rehearsal.app)
app.command(doctor.doctor)
app.command(operator.app)
app.command(node.app)
app.command(edge.app)
app.command(demo.demo)
app.command(lab.app)

EXPECTED = (CommandError, SettingsError, NoLedger, LedgerError, SlugTaken, UnknownCampaign, UnknownPool)


def main() -> None:
    """Entry point: exit code 0 done, 1 failed, 2 wrong usage."""
    # Standard output is a command's own, and that it reads all of a large table is no news to who asked for it.
    set_up_logging(logging.ERROR)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal that cannot show a letter shows its number.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app(exit_on_error=False, print_error=False)
        sys.stdout.flush()
    except CycloptsError as error:
        fail(f"{error}; see `headgate {' '.join(error.command_chain or ())} --help`".replace("  ", " "), 2)
    except EXPECTED as error:
        fail(str(error))
    except BrokenPipeError:
        # The reader of our output has seen enough (`| head`).
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:
        if error.filename is not None:
            raise
        # Of no file: standard output.  What is left in its buffer must not fail a second time at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        fail(f"the output cannot be written ({error.strerror or error}); what the command did is done")
    except KeyboardInterrupt:
        sys.exit(130)
