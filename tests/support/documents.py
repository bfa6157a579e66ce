"""Code blocks of documents, run in order in one folder, with fits that are quick.

``python -m tests.support.documents PAGE`` runs a page's bash and python blocks in the present folder.
Python blocks share their names, and those with prompts are doctests. It stops at the first that fails and
says where.
"""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
SHIM = '#!/bin/sh\nPYTHONPATH="{root}" exec "{python}" -m {module} "$@"\n'
PROGRAMS = {
    "bayeslaw": "bayeslaw.cli",
    "bayeslaw-train": "bayeslaw.lab.train.run",
    "bayeslaw-sweep": "bayeslaw.lab.train.sweep",
    "bayeslaw-collect": "bayeslaw.lab.train.collect",
}
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.S | re.M)
RAN = ("bash", "python")


class Block(NamedTuple):
    """A fenced block: its language, its text, and the line of the document that its text begins at."""

    language: str
    text: str
    line: int


def blocks(document: str) -> Iterator[Block]:
    """Fenced blocks of a Markdown document, in order."""
    for found in FENCE.finditer(document):
        yield Block(found[1], found[2], document.count("\n", 0, found.start()) + 2)


def prose(document: str) -> str:
    """A Markdown document without its fenced blocks."""
    return FENCE.sub("", document)


def workplace(folder: Path) -> dict[str, str]:
    """Environment in which fits are quick, and the programs, in ``folder``, are those of this checkout."""
    (folder / "bin").mkdir()
    for name, module in PROGRAMS.items():
        shim = folder / "bin" / name
        shim.write_text(SHIM.format(root=ROOT, python=sys.executable, module=module))
        shim.chmod(0o755)
    programs = f"{folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    own = {"BAYESLAW_CACHE": str(ROOT / ".pytest_cache" / "tokens"), "BAYESLAW_EFFORT": "quick"}
    return os.environ | {"PATH": programs, "PYTHONPATH": str(ROOT)} | own


def shell(text: str, folder: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a bash block; it stops at the first command that fails."""
    return subprocess.run(["sh", "-ec", text], cwd=folder, env=env, capture_output=True, text=True)


def complaint(block: Block, page: str, names: dict[str, object]) -> str:
    """Run a block in the present folder; what is wrong with it, or nothing."""
    if block.language == "bash":
        ran = shell(block.text, Path.cwd(), dict(os.environ))
        return f"{block.text}\n{ran.stdout}\n{ran.stderr}" if ran.returncode else ""
    if ">>> " not in block.text:
        try:
            exec(compile("\n" * (block.line - 1) + block.text, page, "exec"), names)
        except (Exception, SystemExit):
            return traceback.format_exc()
        return ""
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    test = doctest.DocTestParser().get_doctest(block.text, names, page, page, block.line - 1)
    runner.run(test, out=said.append, clear_globs=False)
    names |= test.globs
    return "".join(said)


def main() -> None:
    page = Path(sys.argv[1])
    names: dict[str, object] = {"__name__": "page"}
    for block in blocks(page.read_text(encoding="utf-8")):
        if block.language in RAN and (wrong := complaint(block, str(page), names)):
            sys.exit(f"{page}, line {block.line}:\n{wrong}")


if __name__ == "__main__":
    main()
