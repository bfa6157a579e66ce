"""The script of the report's page, run by Node without a page; Playwright brings a Node along."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from bayeslaw.reporting.page import SCRIPTS

STATIC = Path(str(resources.files("bayeslaw") / "reporting" / "static"))
WITH_ELEMENTS = ("page",)
"""Scripts that touch the page's elements as they load, which Node has not."""

DATA = re.compile(r'<script[^>]* id="data"[^>]*>(.*?)</script>', re.S)
HARNESS = """
const asked = JSON.parse(require("fs").readFileSync(0, "utf8"));
globalThis.document = { getElementById: () => ({ textContent: asked.data }) };
{scripts}
Promise.all(asked.calls.map(([text, argument]) => eval(text)(argument))).then((answers) =>
  process.stdout.write(JSON.stringify(answers)),
);
"""
OPERATIONS = """async ([target, level]) => {
  const group = await group_of(target.study, target.optimizer);
  const own = {};
  let count = 0;
  for (const name of ["exp", "expm1", "log", "log1p", "sqrt"]) {
    own[name] = Math[name];
    Math[name] = (x) => { count += 1; return own[name](x); };
  }
  predict(group, target, level);
  Object.assign(Math, own);
  return count / PAGE.draws;
}"""
"""Transcendental functions that one answer evaluates, per posterior draw."""


def node() -> str:
    """Path of a Node; the test is skipped where there is none."""
    if found := shutil.which("node"):
        return found
    driver = pytest.importorskip(
        "playwright._impl._driver", reason="neither node nor playwright is installed"
    )
    return str(driver.compute_driver_executable()[0])


def answers(report: Path, calls: Sequence[tuple[str, Any]]) -> list[Any]:
    """Call functions within the page's script, on the data of a report.

    Args:
        report: the HTML file.
        calls: JavaScript text of a function, which may be async, and its JSON-ready argument.
    """
    found = DATA.search(report.read_text(encoding="utf-8"))
    assert found, "the page holds no data"
    names = [name for name in SCRIPTS if name not in WITH_ELEMENTS]
    scripts = "\n".join((STATIC / f"{name}.js").read_text(encoding="utf-8") for name in names)
    asked = json.dumps({"data": found[1], "calls": list(calls)})
    program = HARNESS.replace("{scripts}", scripts)
    ran = subprocess.run([node(), "-e", program], input=asked, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    return list(json.loads(ran.stdout))
