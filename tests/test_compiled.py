"""Where compiled code is kept."""

from __future__ import annotations

import os

import pytest

from bayeslaw import compiled


@pytest.fixture
def environment(monkeypatch):
    """The environment without the variables, put back afterwards."""
    for name in (compiled.FOLDER, compiled.SIZE):
        monkeypatch.setenv(name, "")  # noted, so that what the test sets does not stay
        monkeypatch.delenv(name)


def homeless(path):
    """What Python does for a user whom the system does not know."""
    raise RuntimeError("Could not determine home directory.")


def test_it_is_kept_by_machine_and_within_a_size(environment, monkeypatch, tmp_path):
    monkeypatch.setenv("BAYESLAW_CACHE", str(tmp_path / "to be made"))
    compiled.keep_compiled()
    here = compiled.folder()
    assert os.environ[compiled.FOLDER] == str(here)
    assert here.parent == tmp_path / "to be made" / "jax"
    assert int(os.environ[compiled.SIZE]) == compiled.LIMIT
    assert not list(tmp_path.iterdir())  # JAX makes it, if anything is compiled
    monkeypatch.setattr(compiled, "_processor", lambda: "another")
    assert compiled.folder() != here


def test_a_folder_of_one_s_own_stays(environment, monkeypatch):
    monkeypatch.setenv(compiled.FOLDER, "mine")
    compiled.keep_compiled()
    assert os.environ[compiled.FOLDER] == "mine"
    assert compiled.SIZE not in os.environ


def test_where_nothing_can_be_written_nothing_is_kept(environment, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BAYESLAW_CACHE", str(tmp_path / "file" / "below"))
    compiled.keep_compiled()
    monkeypatch.delenv("BAYESLAW_CACHE")
    monkeypatch.setattr(compiled.Path, "expanduser", homeless)
    compiled.keep_compiled()
    assert compiled.FOLDER not in os.environ
