"""Shared fixtures: the real data of the machine, and small run tables written by hand."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

LONG = ("test_notebooks.py", "test_readme.py", "test_docs.py")
"""Files that take longest: begun first, so that no process waits for them at the end."""

# Fits of the same runs, in this process or in another, compile once.
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(Path(__file__).resolve().parents[1] / ".pytest_cache" / "jax")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
# What tests compile runs for seconds, so XLA need not optimise it; full fits have options of their own.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

SHARED_DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of public run tables, which are read in place and never copied into the project."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no public run tables at {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture
def runs() -> pd.DataFrame:
    """Four valid runs of one cell: three finished, one crashed."""
    return pd.DataFrame(
        {
            "run_id": ["a", "b", "c", "d"],
            "study": "ours",
            "optimizer": "adamw",
            "params_nonembedding": 1e6,
            "tokens": 2e7,
            "batch_tokens": [4096.0, 8192.0, 4096.0, 4096.0],
            "sequence_length": 128.0,
            "learning_rate": [1e-3, 1e-3, 2e-3, 4e-3],
            "loss": [3.0, 3.1, 2.9, None],
            "status": ["finished", "finished", "finished", "crashed"],
        }
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; all else stays in its order."""
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Count what was skipped by its reason: a claim that was not checked."""
    reasons = Counter(report.longrepr[2] for report in terminalreporter.stats.get("skipped", ()))
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count} skipped: {reason.removeprefix('Skipped: ')}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Under BAYESLAW_NO_SKIPS a skipped test fails the run."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and reporter.stats.get("skipped") and os.environ.get("BAYESLAW_NO_SKIPS"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
