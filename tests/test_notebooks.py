"""Every notebook runs from top to bottom, on the quickest fit that still takes every step."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.documents import workplace

jupytext = pytest.importorskip("jupytext")
nbclient = pytest.importorskip("nbclient")

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = [pytest.param(path, id=path.stem) for path in sorted((ROOT / "notebooks").glob("*.py"))]


@pytest.mark.slow  # the README's commands take the steps of 01 and 05, the page on theory those of 06
@pytest.mark.parametrize("path", NOTEBOOKS)
def test_a_notebook_runs_from_any_folder(path, tmp_path, monkeypatch):
    for name, value in workplace(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MPLBACKEND", raising=False)  # the kernel draws inline
    notebook = jupytext.read(path)
    client = nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    pictures = sum(
        "image/png" in output.get("data", {})
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    )
    assert pictures >= 2
