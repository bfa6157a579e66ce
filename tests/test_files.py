"""Files are whole or absent, and a place that cannot be written is named before the work."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bayeslaw.errors import BadInput
from bayeslaw.files import check_writable, make_folder, write_atomically


@pytest.mark.parametrize("before", [None, "old"])
def test_a_place_that_can_be_written_is_left_as_it_is(tmp_path, before):
    path = tmp_path / "r.csv"
    if before is not None:
        path.write_text(before)
    check_writable(path)
    assert [p.name for p in tmp_path.iterdir()] == (["r.csv"] if before else [])
    assert before is None or path.read_text() == before


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("{0}/no/r.csv", "cannot be written, {0}/no is no folder; create it or choose another"),
        ("{0}", "cannot be written, it is a folder; expected a file; choose another"),
        ("{0}/file/r.csv", "cannot be written, {0}/file is no folder; create it or choose another"),
        ("{0}/" + "x" * 300, "cannot be written (File name too long); choose another place"),
        (
            "/dev/null",
            "cannot be written, it is no ordinary file; expected a file; choose another",
        ),
        (".", "cannot be written, it is a folder; expected a file; choose another"),
    ],
)
def test_a_place_that_cannot_be_written_is_named(tmp_path, place, message):
    (tmp_path / "file").write_text("")
    path = Path(place.format(tmp_path))
    for attempt in (check_writable, lambda path: write_atomically(path).__enter__()):
        with pytest.raises(BadInput) as error:
            attempt(path)
        assert str(error.value) == f"{path}: {message.format(tmp_path)}"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_without_permission_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(BadInput, match=r"cannot be written \(Permission denied\)"):
        check_writable(tmp_path / "r.csv")
    with pytest.raises(BadInput, match=r"cannot be made or written to \(Permission denied\)"):
        make_folder(tmp_path)


def test_a_folder_is_made_with_its_parents(tmp_path):
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "b"):
        with pytest.raises(BadInput, match=r"cannot be made or written to \(.*\); expected a place to write"):
            make_folder(place)
