"""The clients' log: one JSON line for each request, as the client that sent it saw it.

Kept in columns: a request costs some 60 bytes this way, so that millions fit. Rules get requests as objects, one
participant's at a time.
"""

from __future__ import annotations

import itertools
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from .errors import WrongUse

KINDS = ("claim", "mine", "cancel")
NOBODY = 0
"""The number of a claim that is none; likewise of a key, a pool, an outcome, and of the status of no answer."""

Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e11)]


class ToldClaim(msgspec.Struct, frozen=True, gc=False):
    """A claim in an answer; `status` is None where the client did not keep it."""

    id: str
    code: str
    pool: str
    ordinal: int
    status: str | None = None


class Line(msgspec.Struct, frozen=True, gc=False):
    person: str
    request: Literal["claim", "mine", "cancel"]
    sent: Seconds
    answered: Seconds | None
    status: Annotated[int, msgspec.Meta(ge=100, le=599)] | None
    outcome: str | None
    pool: str | None = None
    key: str | None = None
    claim: str | None = None
    claims: tuple[ToldClaim, ...] = ()


class Telling(msgspec.Struct, frozen=True, gc=False):
    """A claim as one answer told it; `claim` is its number in the log."""

    claim: int
    ordinal: int
    status: str | None

    @property
    def ended(self) -> bool:
        return self.status in ENDED

    @property
    def live(self) -> bool:
        return self.status in LIVE


LIVE = ("held", "confirmed", "redeemed")
ENDED = ("cancelled", "expired")


class Request(msgspec.Struct, frozen=True, gc=False):
    """One request. `answered` of one that got no answer is when its client gave up."""

    number: int
    kind: str
    pool: str | None
    key: int
    names: int
    """The claim that a cancellation names."""
    sent: float
    answered: float
    status: int
    outcome: str | None
    told: tuple[Telling, ...]

    @property
    def in_doubt(self) -> bool:
        """Whether it may have been carried out although its answer does not say so."""
        if self.status == NOBODY or (self.status >= 500 and self.outcome != "overloaded"):
            return True
        return self.kind == "claim" and self.status in (200, 201) and not self.told

    @property
    def may_have_cancelled(self) -> bool:
        return self.kind == "cancel" and (self.in_doubt or self.status == 200)


class Names:
    """Gives each text a number, in the order of appearance; None is number 0."""

    def __init__(self) -> None:
        self._numbers: dict[str | None, int] = {None: NOBODY}
        self.texts: list[str | None] = [None]

    def __len__(self) -> int:
        return len(self.texts) - 1

    def number(self, text: str | None) -> int:
        number = self._numbers.get(text)
        if number is None:
            number = self._numbers[text] = len(self.texts)
            self.texts.append(text)
        return number

    def find(self, text: str) -> int:
        return self._numbers.get(text, NOBODY)


class Log:
    """All requests of all files; a request's number is its place in the columns."""

    def __init__(self) -> None:
        self.participants, self.claims, self._pools, self._words = Names(), Names(), Names(), Names()
        self.participant, self.sent, self.answered = array("I"), array("d"), array("d")
        self.kind, self.status, self.outcome = array("B"), array("H"), array("I")
        self._pool, self._key, self._names = array("I"), array("q"), array("I")
        self._file, self._line, self._told_until = array("H"), array("I"), array("I")
        self._files: list[str] = []
        self.telling_request, self.telling_claim = array("I"), array("I")
        self.telling_ordinal, self.telling_status = array("q"), array("I")
        self.first_told: list[tuple[str, str]] = [("", "")]
        """Code and pool of each claim, by its number, as they were told first."""
        self.told_otherwise: list[tuple[int, ToldClaim]] = []
        """(request, claim) where a later answer told another code or pool than the first."""
        self.combinations: Counter[tuple[int, int, int]] = Counter()
        """Requests by kind, status and outcome."""

    def __len__(self) -> int:
        return len(self.sent)

    def add(self, line: Line, number: int) -> None:
        """Keep a line of the file that was opened last."""
        kind, status, outcome = KINDS.index(line.request), line.status or NOBODY, self._words.number(line.outcome)
        if not status:
            outcome = NOBODY
        self.combinations[kind, status, outcome] += 1
        request = len(self.sent)
        self.participant.append(self.participants.number(line.person))
        self.sent.append(line.sent)
        self.answered.append(line.sent if line.answered is None else line.answered)
        self.kind.append(kind)
        self.status.append(status)
        self.outcome.append(outcome)
        self._pool.append(self._pools.number(line.pool))
        # Keys are only compared with others of the same participant, where 64 bits tell them apart.
        self._key.append(NOBODY if line.key is None else hash(line.key) or 1)
        self._names.append(self._claim_number(line.claim))
        self._file.append(len(self._files) - 1)
        self._line.append(number)
        if (status == 200 and kind <= 1) or (status == 201 and kind == 0):
            for told in line.claims:
                self._tell(request, told)
        self._told_until.append(len(self.telling_claim))

    def _claim_number(self, claim: str | None) -> int:
        number = self.claims.number(claim)
        if number == len(self.first_told):
            self.first_told.append(("", ""))
        return number

    def _tell(self, request: int, told: ToldClaim) -> None:
        number = self._claim_number(told.id)
        code, pool = self.first_told[number]
        if not code and not pool:
            # Pools and codes of the answer are kept once: the pool's name as the one text that all lines share.
            self.first_told[number] = (told.code, self._pools.texts[self._pools.number(told.pool)] or "")
        elif (code, pool) != (told.code, told.pool):
            self.told_otherwise.append((request, told))
        self.telling_request.append(request)
        self.telling_claim.append(number)
        self.telling_ordinal.append(told.ordinal)
        self.telling_status.append(self._words.number(told.status))

    def read(self, path: Path) -> None:
        """Add a file.  Raises WrongUse with the line that is none."""
        self._files.append(str(path))
        decode = msgspec.json.Decoder(Line).decode
        try:
            with path.open("rb") as lines:
                for number, text in enumerate(lines, 1):
                    try:
                        line = decode(text)
                    except (msgspec.DecodeError, UnicodeDecodeError) as error:
                        raise WrongUse(f"{path}:{number}: no line of a log ({error}): {_shown(text)}") from None
                    fault = _contradiction(line)
                    if fault:
                        raise WrongUse(f"{path}:{number}: {fault}: {_shown(text)}")
                    self.add(line, number)
        except OSError as error:
            raise WrongUse(f"{path}: cannot be read ({error.strerror}): name a log that a client wrote") from None

    def word(self, number: int) -> str | None:
        """The outcome, or status of a claim, that has this number."""
        return self._words.texts[number]

    def claim_id(self, number: int) -> str:
        return self.claims.texts[number] or ""

    def request(self, number: int) -> Request:
        tellings = range(self._told_until[number - 1] if number else 0, self._told_until[number])
        return Request(
            number,
            KINDS[self.kind[number]],
            self._pools.texts[self._pool[number]],
            self._key[number],
            self._names[number],
            self.sent[number],
            self.answered[number],
            self.status[number],
            self._words.texts[self.outcome[number]],
            tuple(self.telling(telling) for telling in tellings) if tellings else (),
        )

    def telling(self, number: int) -> Telling:
        return Telling(
            self.telling_claim[number],
            self.telling_ordinal[number],
            self._words.texts[self.telling_status[number]],
        )

    def answered_with(self, outcome: str) -> Iterator[Request]:
        """The requests that were answered with this refusal."""
        wanted = self._words.find(outcome)
        if wanted != NOBODY:
            for number, found in enumerate(self.outcome):
                if found == wanted:
                    yield self.request(number)

    def by_participant(self) -> Iterator[tuple[int, list[Request]]]:
        """Each participant's number and requests, in the order in which they were sent."""
        # Sorted by counting: as a list of integers, all requests would take as much as the whole log.
        ends = array("I", [0]) * (len(self.participants) + 1)
        for participant in self.participant:
            ends[participant] += 1
        ends = array("I", itertools.accumulate(ends))
        places, order = array("I", [0, *ends[:-1]]), array("I", self.participant)
        for number, participant in enumerate(self.participant):
            order[places[participant]] = number
            places[participant] += 1
        for participant in range(1, len(ends)):
            numbers = sorted(order[ends[participant - 1] : ends[participant]], key=self.sent.__getitem__)
            yield participant, [self.request(number) for number in numbers]

    def cite(self, number: int) -> str:
        """A request as a reader finds it again."""
        request = self.request(number)
        answer = f"{request.status or 'no answer'} {request.outcome or ''}".rstrip()
        about = request.pool or self.claim_id(request.names)
        what = " ".join(word for word in (request.kind, about) if word)
        told = ", ".join(self.claim_id(telling.claim) for telling in request.told)
        who = self.participants.texts[self.participant[number]]
        return (
            f"{self._files[self._file[number]]}:{self._line[number]}: person {who}, {what}, "
            f"sent {request.sent:.6f}, answered {request.answered:.6f}: {answer}{told and ' with '}{told}"
        )


def read_logs(paths: Sequence[Path]) -> Log:
    """All files as one log.  Raises WrongUse."""
    log, seen = Log(), set()
    for path in paths:
        if path.resolve() in seen:
            raise WrongUse(f"{path} was named twice: name each log once")
        seen.add(path.resolve())
        log.read(path)
    if not len(log):
        raise WrongUse(f"{', '.join(map(str, paths)) or 'no log'}: no request was logged, so there is nothing to judge")
    return log


def _contradiction(line: Line) -> str | None:
    """Why a line of the right form says nothing that can be true."""
    if line.status is not None and line.answered is None:
        return f"status {line.status} without `answered`"
    if line.answered is not None and line.answered < line.sent:
        return "answered before it was sent; take the wall time once and add a clock that never goes back"
    if line.request == "cancel" and line.claim is None:
        return "`cancel` without `claim`"
    return None


def _shown(text: bytes) -> str:
    return text[:120].decode(errors="replace").rstrip("\n")
