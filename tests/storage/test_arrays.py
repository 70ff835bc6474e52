"""Arrays in binary form, as a real PostgreSQL reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from headgate.storage.sql.arrays import bytes16, ints, texts
from headgate.storage.sql.bounded import BoundedConnection
from headgate.storage.sql.exchange import Said, exchange
from headgate.storage.sql.postgresql_statements import _rows

PERSONS = [bytes([number]) * 16 for number in (0, 34, 44, 92, 255)]
"""Among their bytes are those of a quote, a comma and a backslash, which mean something in an array that is a text."""


@pytest.fixture
def connection(place_on: Callable[[str], Path | sa.URL]) -> Iterator[BoundedConnection]:
    url = place_on("postgresql")
    assert isinstance(url, sa.URL)
    text = url.set(drivername="postgresql").render_as_string(hide_password=False)
    with BoundedConnection.connect(text, autocommit=True) as opened:
        yield opened


def read(connection: BoundedConnection, kind: str, array: bytes) -> list[Any]:
    """The values as the server has understood them, in their order."""
    (answer,) = exchange(connection, [Said(f"SELECT value FROM unnest($1::{kind}[]) AS value", (array,))])
    return [value for (value,) in _rows(connection, answer, tuple)]


@pytest.mark.parametrize("values", [[], [7], [1, 1, 1], [0, -1, 2**31 - 1, -(2**31)]])
def test_numbers(connection: BoundedConnection, values: list[int]) -> None:
    assert read(connection, "int", ints(values)) == values


@pytest.mark.parametrize("values", [[], ["A"], ['a,"', "\\{}", "NUL"], ["x" * 127]])
def test_texts(connection: BoundedConnection, values: list[str]) -> None:
    assert read(connection, "text", texts(values)) == values


@pytest.mark.parametrize("values", [[], PERSONS, [None, PERSONS[1], None], [None]])
def test_bytes(connection: BoundedConnection, values: list[bytes | None]) -> None:
    assert read(connection, "bytea", bytes16(values)) == values


@pytest.mark.parametrize("values", [["one", "three"], ["é"], ["x" * 128]])
def test_other_texts_are_not_taken(values: list[str]) -> None:
    with pytest.raises(ValueError, match=r"too many values|can't encode|can't decode"):
        texts(values)
