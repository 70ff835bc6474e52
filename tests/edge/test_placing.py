"""Files that were edited are not written over, and what cannot be written whole is not written at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from headgate.edge.placing import RECORD, Edited, Placed, Unwritable, place

FIRST = {"a.conf": "one\ntwo\n", "deep/b.conf": "three\n"}
SECOND = {"a.conf": "one\n2\n", "deep/b.conf": "three\n"}


def there(directory: Path) -> dict[str, str]:
    return {
        path.relative_to(directory).as_posix(): path.read_text()
        for path in directory.rglob("*")
        if path.is_file() and path.name != RECORD
    }


def test_what_was_rendered_is_replaced_by_what_is_rendered_later(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert place(out, FIRST, force=False) == Placed(["a.conf", "deep/b.conf"], [])
    assert place(out, FIRST, force=False) == Placed([], ["a.conf", "deep/b.conf"])
    assert place(out, SECOND, force=False) == Placed(["a.conf"], ["deep/b.conf"])
    assert there(out) == SECOND
    assert [path.name for path in out.rglob(".*")] == [RECORD], "what is written aside is left behind"


@pytest.mark.parametrize("record", ["ours", "none", "not JSON", "of another kind"])
def test_an_edited_file_stays_and_the_difference_is_shown(tmp_path: Path, record: str) -> None:
    place(tmp_path, FIRST, force=False)
    (tmp_path / "a.conf").write_text("one\ntwo\nmine")
    match record:
        case "none":
            (tmp_path / RECORD).unlink()
        case "not JSON":
            (tmp_path / RECORD).write_text("{")
        case "of another kind":
            (tmp_path / RECORD).write_text('{"a.conf": 1}')
    with pytest.raises(Edited) as raised:
        place(tmp_path, SECOND, force=False)
    assert raised.value.places == ["a.conf"]
    assert "-mine\n" in raised.value.difference
    assert "+2\n" in raised.value.difference
    assert there(tmp_path) == {**FIRST, "a.conf": "one\ntwo\nmine"}
    place(tmp_path, SECOND, force=True)
    assert there(tmp_path) == SECOND


def test_an_edit_that_is_what_would_be_rendered_is_none(tmp_path: Path) -> None:
    place(tmp_path, FIRST, force=False)
    (tmp_path / "a.conf").write_text(SECOND["a.conf"])
    assert place(tmp_path, SECOND, force=False) == Placed([], ["a.conf", "deep/b.conf"])


@pytest.mark.parametrize(
    "obstacle", ["a file where a directory belongs", "a directory where a file belongs", "no right"]
)
def test_where_one_file_cannot_be_none_is_written(tmp_path: Path, obstacle: str) -> None:
    match obstacle:
        case "a file where a directory belongs":
            (tmp_path / "deep").write_text("in the way")
        case "a directory where a file belongs":
            (tmp_path / "deep" / "b.conf").mkdir(parents=True)
        case _:
            if os.geteuid() == 0:
                # Nothing is forbidden to root but what the kernel itself shows.
                with pytest.raises(Unwritable, match="/proc"):
                    place(Path("/proc/headgate"), FIRST, force=False)
                return
            tmp_path.chmod(0o500)
    with pytest.raises(Unwritable, match=r"deep|cannot be written"):
        place(tmp_path, FIRST, force=False)
    assert not (tmp_path / "a.conf").exists()
