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


def unwritable(tmp_path):
    (tmp_path / "file").write_text("")
    return {
        tmp_path / "no" / "r.csv": f"cannot be written, {tmp_path}/no is no folder; create it or choose",
        tmp_path: "cannot be written, it is a folder; expected the name of a file; choose another",
        tmp_path / "file" / "r.csv": f"cannot be written, {tmp_path}/file is no folder; create it or",
        tmp_path / ("x" * 300): "cannot be written (File name too long); choose another place",
        Path("/dev/null"): "cannot be written, it is no ordinary file; expected the name of a file; choose",
    }


@pytest.mark.parametrize("number", range(5))
def test_a_place_that_cannot_be_written_is_named(tmp_path, number):
    path, message = list(unwritable(tmp_path).items())[number]
    for attempt in (check_writable, lambda path: write_atomically(path).__enter__()):
        with pytest.raises(BadInput) as error:
            attempt(path)
        assert str(error.value).startswith(f"{path}: {message}")
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
