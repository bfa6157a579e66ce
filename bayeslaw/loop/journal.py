"""Journal of a loop: entries in JSON lines, and the same in Markdown.

Both files are written whole and renamed, so that a kill at any point leaves the last complete journal.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bayeslaw.errors import BadInput
from bayeslaw.files import plain_json, write_atomically
from bayeslaw.text import percent

LINES, TEXT = "journal.jsonl", "journal.md"
KINDS = ("chosen", "returned", "believed", "stopped")
"""Kinds of entries; each round has each kind at most once, in this order."""

Entry = dict[str, Any]


def read(folder: Path) -> list[Entry]:
    """Entries so far, in order.

    Raises:
        BadInput: a line that is not an entry.
    """
    path = folder / LINES
    if not path.exists():
        return []
    entries = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            entry = json.loads(line)
            known = entry["kind"] in KINDS and int(entry["round"]) > 0
        except (ValueError, KeyError, TypeError):
            known = False
        if not known:
            raise BadInput(
                f"{path}: line {number} is no entry of a journal; expected the lines that `bayeslaw loop` "
                "wrote; restore the file, or move it away: the loop goes on from the other files"
            )
        entries.append(entry)
    return entries


def enter(folder: Path, kind: str, round_: int, contents: Entry) -> None:
    """Add an entry, or replace the round's entry of that kind if it differs.

    Raises:
        BadInput: the journal is damaged, or cannot be written.
    """
    entries = read(folder)
    entry = {"round": round_, "kind": kind} | plain_json(contents)
    there = [i for i, e in enumerate(entries) if (e["round"], e["kind"]) == (round_, kind)]
    if there and entries[there[0]] == entry:
        _write_text(folder, entries)  # a kill may have come between the two files
        return
    kept = [e for i, e in enumerate(entries) if i not in there and not _outdated(e, round_, kind)]
    kept = sorted([*kept, entry], key=lambda e: (e["round"], KINDS.index(e["kind"])))
    _write(folder / LINES, "".join(json.dumps(e, ensure_ascii=False) + "\n" for e in kept))
    _write_text(folder, kept)


def text(entries: Sequence[Entry]) -> str:
    """Format the journal in Markdown."""
    lines = ["# Journal of the loop", ""]
    shown = 0
    for entry in entries:
        if entry["round"] != shown and entry["kind"] != "stopped":
            shown = entry["round"]
            lines += [f"## Round {shown}", ""]
        lines += [*_SECTIONS[entry["kind"]](entry), ""]
    return "\n".join(lines)


def _outdated(entry: Entry, round_: int, kind: str) -> bool:
    """Drop a stop once a later round began, because the user gave more budget."""
    return bool(entry["kind"] == "stopped" and kind == "chosen" and entry["round"] <= round_)


def _chosen(entry: Entry) -> list[str]:
    head = ["run", "optimizer", "N", "tokens", "batch, tokens", "learning rate", f"cost, {entry['unit']}"]
    lines = [
        f"**Chosen** by {entry['policy']}: {len(entry['runs'])} runs for {entry['cost']:.3g} "
        f"{entry['unit']}; {entry['left']:.3g} of the budget were left.",
        "",
        "| " + " | ".join([*head, "lowers regret by"]) + " |",
        "|" + " --- |" * (len(head) + 1),
    ]
    for number, run in enumerate(entry["runs"], start=1):
        sizes = [f"{run[name]:.4g}" for name in ("params_nonembedding", "tokens", "batch_tokens")]
        numbers = [f"{run['learning_rate']:.3g}", f"{run['cost']:.3g}", _share(run["regret_reduction"])]
        lines.append("| " + " | ".join([str(number), run["optimizer"], *sizes, *numbers]) + " |")
    regret = entry["regret"]
    lines += [
        "",
        f"Why: {entry['reason']}. Expected regret {_share(regret['before'])} before these runs, "
        f"{_share(regret['after'])} after them (each counted given those above it).",
    ]
    return lines + [f"Doubt: {doubt}." for doubt in entry["warnings"]]


def _returned(entry: Entry) -> list[str]:
    kinds = ", ".join(f"{count} {status}" for status, count in entry["status"].items())
    best = f"; lowest loss {entry['best']:.4f}" if entry["best"] is not None else ""
    notes = [f"Note: {note}." for note in entry["notes"]]
    return [f"**Came back**: {entry['runs']} of {entry['planned']} runs ({kinds}){best}.", *notes]


def _believed(entry: Entry) -> list[str]:
    lines = [f"**Now believed**, from {entry['runs']} runs ({entry['finished']} finished):", ""]
    for target in entry["targets"]:
        values = ", ".join(
            f"{name.replace('_', ' ')} {value:.3g} ({best['lower']:.3g} to {best['upper']:.3g})"
            for name, value in target["recommendation"].items()
            for best in [target["optimum"][name]]
        )
        lines.append(
            f"- {target['optimizer']}, N = {target['params_nonembedding']:.4g}, D = {target['tokens']:.4g}: "
            f"{values}; regret {_share(target['regret']['expected'])} expected, below "
            f"{_share(target['regret']['upper'])} with 90%; loss {target['loss']['median']:.4f} "
            f"({target['loss']['lower']:.4f} to {target['loss']['upper']:.4f})"
        )
    return lines + [f"Doubt: {doubt}." for doubt in entry["warnings"]]


def _stopped(entry: Entry) -> list[str]:
    return [
        f"**Stopped**, rounds made: {entry['rounds']}, spent: {entry['spent']:.3g} {entry['unit']}. "
        f"Why: {entry['reason']}."
    ]


_SECTIONS = {"chosen": _chosen, "returned": _returned, "believed": _believed, "stopped": _stopped}


def _share(fraction: float | None) -> str:
    return "-" if fraction is None else percent(fraction)


def _write_text(folder: Path, entries: Sequence[Entry]) -> None:
    path, shown = folder / TEXT, text(entries)
    if not path.exists() or path.read_text(encoding="utf-8") != shown:
        _write(path, shown)


def _write(path: Path, contents: str) -> None:
    with write_atomically(path) as temporary:
        temporary.write_text(contents, encoding="utf-8")
