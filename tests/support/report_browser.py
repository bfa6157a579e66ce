"""The report's page in headless Chromium, where Chromium and Playwright are at hand."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

PREDICT = "async ([target, level]) => predict(await group_of(target.study, target.optimizer), target, level)"
READY = "#command:not(:empty)"
CONTRAST = """([front, back]) => {
  const style = getComputedStyle(document.documentElement);
  const light = (name) => {
    const hex = style.getPropertyValue(name).trim().slice(1);
    const parts = [0, 2, 4].map((i) => parseInt(hex.slice(i, i + 2), 16) / 255);
    const linear = parts.map((x) => (x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4));
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  };
  const [high, low] = [light(front), light(back)].sort((a, b) => b - a);
  return (high + 0.05) / (low + 0.05);
}"""
"""WCAG 2.2 contrast ratio of two custom properties of the page."""


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser; the test is skipped where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("no chromium on the path")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opened(browser: Any, report: Path, **context: Any) -> Iterator[Any]:
    """The report in a page of its own, whose first answer is there; nothing may go wrong on the way.

    Args:
        browser: of ``chromium``.
        report: the file.
        context: of Playwright's ``new_context``; with JavaScript off no answer is waited for.
    """
    page = browser.new_context(**context).new_page()
    page.set_default_timeout(10_000)
    wrong: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("requestfailed", lambda request: wrong.append(request.url[:80]))
    page.on("request", lambda request: asked.append(request.url[:80]))
    page.goto(report.as_uri())
    if context.get("java_script_enabled", True):
        page.wait_for_selector(READY)
    yield page
    page.context.close()
    assert wrong == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
