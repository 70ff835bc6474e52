"""`python -m bench.edge`: what nginx answers without a node, as ratios to an nginx that does nothing else.

Both have one worker process, and both are up while loads of a second follow each other in turn.
"""

import argparse
import contextlib
import sys
import tempfile
import time
from pathlib import Path

from bench.measuring import BenchmarkFailed, free_port, get, headgate, headgate_command, print_environment, serving
from bench.workshop import Verdicts, Workshop, paired
from headgate.lab.servers.nginx import nginx_program

SLUG = "rush"
SETTLE_S = 20

BARE = """
worker_processes 1;
daemon off;
pid {directory}/bare.pid;
error_log {directory}/bare-error.log crit;
events {{ worker_connections 1024; }}
http {{
    types {{ application/json json; }}
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 10000000;
    open_file_cache max=100;
    client_body_temp_path {directory}/bare-bodies;
    server {{
        listen 127.0.0.1:{port};
        root {public};
        location /state/ {{ }}
        location / {{ return 200 "hello"; }}
    }}
}}
"""


@contextlib.contextmanager
def bare(directory, public):
    """An nginx with nothing in its way."""
    port = free_port()
    configuration = directory / "bare.conf"
    configuration.write_text(BARE.format(directory=directory, port=port, public=public))
    command = [str(nginx_program()), "-c", str(configuration)]
    with serving(command, port, directory / "bare.log", "/") as server:
        yield server


@contextlib.contextmanager
def edge(directory, public, node_port):
    """What `headgate edge render` writes, with one worker process."""
    port = free_port()
    for name in ("log", "cache", "run"):
        (directory / name).mkdir()
    environment = {
        "HEADGATE_PUBLIC_DIR": str(public),
        "HEADGATE_EDGE__LISTEN": f"127.0.0.1:{port}",
        "HEADGATE_EDGE__NODES": f"127.0.0.1:{node_port}",
        "HEADGATE_EDGE__USER": "root",
        "HEADGATE_EDGE__WORKERS": "1",
        **{f"HEADGATE_EDGE__{name.upper()}_DIR": str(directory / name) for name in ("log", "cache", "run")},
    }
    headgate("edge", "render", "--out", directory / "etc", "--nginx", nginx_program(), environment=environment)
    command = [str(nginx_program()), "-g", "daemon off;", "-c", str(directory / "etc/nginx/nginx.conf")]
    with serving(command, port, directory / "edge.log", "/livez") as server:
        yield server


def run(arguments, directory):
    print_environment(directory)
    # Its worker processes are of another account, which has to get here.
    directory.chmod(0o755)
    shop = Workshop(directory, arguments.tokens)
    verdicts = Verdicts()
    data, listed = shop.ledger({"central": 0})
    data.chmod(0o755)
    public = data / "public"
    node_port = free_port()
    with contextlib.ExitStack() as stack:
        node = headgate_command("participant", data, node_port)
        stack.enter_context(serving(node, node_port, directory / "node.log", "/readyz"))
        stack.enter_context(serving(headgate_command("keeper", data, None), None, directory / "keeper.log", None))
        ours = stack.enter_context(edge(directory, public, node_port))
        theirs = stack.enter_context(bare(directory, public))
        refusal = public / "refusals" / f"{SLUG}.sold_out"
        deadline = time.monotonic() + SETTLE_S
        while not refusal.exists():
            if time.monotonic() > deadline:
                raise BenchmarkFailed(f"{refusal} was not published in {SETTLE_S} s")
            time.sleep(0.1)
        time.sleep(2)

        def refused(seconds):
            result = shop.load(ours, listed, seconds)
            if result.refused != result.requests:
                raise BenchmarkFailed(f"{result.requests - result.refused} of {result.requests} were not refused")
            return result

        def plain(server, path):
            def measure(seconds):
                result = get(server, path, seconds=seconds)
                if result.refused:
                    raise BenchmarkFailed(f"{path} gave {result.refused} errors")
                return result

            return contextlib.nullcontext(measure)

        print("\nclaims that the edge refuses")
        ratio = paired(
            arguments.slices, "edge, refusals", contextlib.nullcontext(refused), "bare nginx, return 200",
            contextlib.nullcontext(lambda seconds: shop.load(theirs, listed, seconds)),
        )  # fmt: skip
        verdicts.check("refusals / return 200", ratio, 0.80, at_least=True)
        print("\nthe public state")
        ratio = paired(
            arguments.slices, "edge, state", plain(ours, f"/api/v1/campaigns/{SLUG}"), "bare nginx, the same file",
            plain(theirs, f"/state/{SLUG}.json"),
        )  # fmt: skip
        verdicts.check("state / a static file", ratio, 0.90, at_least=True)
    return verdicts.missed


def main():
    parser = argparse.ArgumentParser(prog="python -m bench.edge", description=__doc__)
    parser.add_argument("--slices", type=int, default=12, help="pairs of loads in each comparison")
    parser.add_argument("--tokens", type=int, default=300_000, help="distinct people at hand")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="headgate-bench-") as name:
        try:
            missed = run(arguments, Path(name))
        except BenchmarkFailed as failure:
            sys.exit(f"the benchmark failed: {failure}")
    if missed:
        sys.exit(f"missed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
