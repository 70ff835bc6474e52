"""Console accounts: adding them, and signing in."""

from __future__ import annotations

import re
import threading
from base64 import b64encode

import msgspec
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.low_level import ARGON2_VERSION

from ..domain.naming import ALPHABET
from ..ports.clock import Clock
from ..ports.entropy import Entropy
from ..ports.operators import Operator, OperatorLedger, Role

OPERATOR_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,30}[a-z0-9])?")

PASSWORD_CHARS_MIN = 12
PASSWORD_CHARS_MAX = 256

GENERATED_GROUPS = 5
GENERATED_GROUP_CHARS = 4
"""Five groups of four symbols with 5 bits each: 100 bits."""

WINDOW_S = 60
FAILURES_PER_NAME = 5
FAILURES_PER_ADDRESS = 20
"""Failed tries in one window; several operators may share an address."""
REMEMBERED_MAX = 10_000
"""Names and addresses remembered at a time, each about 200 bytes."""

HASHING_MAX = 4
"""Verifications at a time; each takes 64 MiB and a core for some tens of milliseconds."""


class InvalidAccount(ValueError):
    """A name, role or password that no account can have; the message says what to do."""


class SignInRefused(msgspec.Struct, frozen=True):
    """Why somebody is not signed in: `retry_after_s` is None for a wrong name or password, else the wait."""

    retry_after_s: int | None = None


WRONG = SignInRefused()
"""The same for an unknown name and a wrong password, so that names cannot be found out."""
BUSY = SignInRefused(retry_after_s=1)


class _Tries:
    """Tries of one key (a name or an address) in the window that begins with its first one.

    Tries are counted before the password is looked at and given back where it was right, so that
    parallel tries count like serial ones.  Callers hold a lock.
    """

    def __init__(self, per_window: int, remembered_max: int) -> None:
        self._per_window = per_window
        self._remembered_max = remembered_max
        self._windows: dict[str, tuple[int, int]] = {}

    def wait_s(self, key: str, now_ms: int) -> int:
        """Seconds until the key may try again; 0 where it may now."""
        began_ms, count = self._window(key, now_ms)
        if count < self._per_window:
            return 0
        return max(1, -(-(began_ms + WINDOW_S * 1000 - now_ms) // 1000))

    def take(self, key: str, now_ms: int) -> None:
        began_ms, count = self._window(key, now_ms)
        if key not in self._windows and len(self._windows) >= self._remembered_max:
            # The oldest window is forgotten: it ends soonest.
            del self._windows[next(iter(self._windows))]
        elif count == 0:
            # A new window of a known key goes to the end of the order.
            self._windows.pop(key, None)
        self._windows[key] = (began_ms, count + 1)

    def give_back(self, key: str) -> None:
        window = self._windows.get(key)
        if window is not None and window[1] > 0:
            self._windows[key] = (window[0], window[1] - 1)

    def _window(self, key: str, now_ms: int) -> tuple[int, int]:
        window = self._windows.get(key)
        # A clock that was set back begins a new window; a wait must not grow with the step.
        if window is None or not window[0] <= now_ms < window[0] + WINDOW_S * 1000:
            return now_ms, 0
        return window


def check_name(name: str) -> None:
    """Raises InvalidAccount."""
    if not OPERATOR_NAME.fullmatch(name):
        raise InvalidAccount(
            f"the name {name!r} is not usable; use 1 to 32 of a-z, 0-9, '.', '_' and '-', "
            "beginning and ending with a letter or digit"
        )


def parse_role(text: str) -> Role:
    """Raises InvalidAccount."""
    try:
        return Role(text)
    except ValueError:
        raise InvalidAccount(f"the role {text!r} does not exist; use {', '.join(Role)}") from None


def _check_password(password: str) -> None:
    if not PASSWORD_CHARS_MIN <= len(password) <= PASSWORD_CHARS_MAX:
        # The password itself stays out of the message.
        raise InvalidAccount(
            f"the password has {len(password)} characters; give {PASSWORD_CHARS_MIN} to {PASSWORD_CHARS_MAX}"
        )


def generate_password(entropy: Entropy) -> str:
    """100 random bits as `xxxx-xxxx-xxxx-xxxx-xxxx`, in symbols that people do not confuse."""
    symbols = ALPHABET.decode("ascii").lower()
    chars = [symbols[byte & 31] for byte in entropy.token_bytes(GENERATED_GROUPS * GENERATED_GROUP_CHARS)]
    size = GENERATED_GROUP_CHARS
    return "-".join("".join(chars[start : start + size]) for start in range(0, len(chars), size))


def _nobodys_hash(hasher: PasswordHasher, entropy: Entropy) -> str:
    """What an unknown name is verified against, so that it takes as long as a known one.

    Salt and hash are random, so no password is known to give it, and making it costs no hashing.
    """
    salt, digest = (
        b64encode(entropy.token_bytes(count)).decode("ascii").rstrip("=")
        for count in (hasher.salt_len, hasher.hash_len)
    )
    cost = f"m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}"
    return f"$argon2id$v={ARGON2_VERSION}${cost}${salt}${digest}"


class Operators:
    """Thread-safe; calls block on the ledger and on hashing."""

    def __init__(
        self, ledger: OperatorLedger, clock: Clock, entropy: Entropy, hasher: PasswordHasher | None = None
    ) -> None:
        """`hasher` defaults to argon2-cffi's, Argon2id (RFC 9106, second recommended option)."""
        self._ledger = ledger
        self._clock = clock
        self._entropy = entropy
        self._hasher = hasher or PasswordHasher()
        self._nobodys_hash = _nobodys_hash(self._hasher, entropy)
        self._lock = threading.Lock()
        self._by_name = _Tries(FAILURES_PER_NAME, REMEMBERED_MAX)
        self._by_address = _Tries(FAILURES_PER_ADDRESS, REMEMBERED_MAX)
        self._hashing = threading.BoundedSemaphore(HASHING_MAX)

    def add(self, name: str, role: str, password: str | None = None, *, actor: str) -> str:
        """Add an account and return its password, generated where none is given.

        Raises InvalidAccount and OperatorExists.
        """
        check_name(name)
        parsed_role = parse_role(role)
        if password is None:
            password = generate_password(self._entropy)
        _check_password(password)
        self._ledger.add(name, parsed_role, self._hasher.hash(password), actor=actor)
        return password

    def set_password(self, name: str, password: str | None = None, *, actor: str) -> str:
        """Give an account another password and return it, generated where none is given.

        Raises InvalidAccount and UnknownOperator.
        """
        if password is None:
            password = generate_password(self._entropy)
        _check_password(password)
        self._ledger.set_password(name, self._hasher.hash(password), actor=actor)
        return password

    def remove(self, name: str, *, actor: str) -> None:
        """Raises UnknownOperator."""
        self._ledger.remove(name, actor=actor)

    def find(self, name: str) -> Operator | None:
        return self._ledger.find(name) if OPERATOR_NAME.fullmatch(name) else None

    def operators(self) -> list[Operator]:
        return self._ledger.operators()

    def count(self) -> int:
        return self._ledger.count()

    def sign_in(self, name: str, password: str, address: str) -> Operator | SignInRefused:
        """The operator whose name and password these are; `address` is the network address of whoever tries."""
        # Spellings that cannot be accounts share one count, so that they fill no memory.
        key = name if OPERATOR_NAME.fullmatch(name) else ""
        now_ms = self._clock.now_ms()
        with self._lock:
            wait_s = max(self._by_name.wait_s(key, now_ms), self._by_address.wait_s(address, now_ms))
            if wait_s:
                return SignInRefused(retry_after_s=wait_s)
            if not self._hashing.acquire(blocking=False):
                return BUSY
            self._by_name.take(key, now_ms)
            self._by_address.take(address, now_ms)
        try:
            operator = self._verified(key, password)
        finally:
            self._hashing.release()
        if operator is None:
            return WRONG
        with self._lock:
            self._by_name.give_back(key)
            self._by_address.give_back(address)
        return operator

    def _verified(self, key: str, password: str) -> Operator | None:
        operator = self._ledger.find(key) if key else None
        expected = self._nobodys_hash if operator is None else operator.password_hash
        try:
            self._hasher.verify(expected, password)
        except (VerificationError, InvalidHashError):
            return None
        return operator
