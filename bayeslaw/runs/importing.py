"""Convert foreign tables of runs (a sweep's CSV, a W&B export, published data) to run tables."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bayeslaw.errors import BadInput
from bayeslaw.runs.alternatives import unite
from bayeslaw.runs.checks import notes as doubts
from bayeslaw.runs.checks import which
from bayeslaw.runs.column_names import (
    ROLES,
    Reading,
    ambiguous,
    loss_kind,
    passed_over,
    reason,
    resolve_roles,
)
from bayeslaw.runs.conversions import USED, follow
from bayeslaw.runs.guesses import Guess, guesses
from bayeslaw.runs.io import TEXT, PathLike, narrow, read_table
from bayeslaw.runs.layouts import LAYOUTS, Layout, converted, fitting, found_at
from bayeslaw.runs.optimizer_names import canonical
from bayeslaw.runs.rounding import merge_rounded
from bayeslaw.runs.schema import BY_NAME, DIVERGED_RATIO, MOST_LOSS, REQUIRED, mark_diverged, validate

STATES = {
    "finished": "finished completed complete success succeeded done ok terminated",
    "diverged": "diverged nan exploded",
    "crashed": "crashed failed failure fail error errored oom out_of_memory timeout node_fail",
    "stopped": "stopped killed preempted preempting pruned running pending waiting paused scheduled "
    "cancelled canceled",
}
"""Words of W&B, Optuna, Ray, MLflow and Slurm, in lower case, words joined by underscores."""

STATE_OF = {word: status for status, words in STATES.items() for word in words.split()}
HINTS = {
    "study": "add --study NAME",
    "optimizer": "add --set optimizer=adamw, or --map optimizer=COLUMN",
    "params_nonembedding": "add --map params_nonembedding=COLUMN, "
    "or --map params_total=COLUMN with --map params_embedding=COLUMN",
    "tokens": "add --map tokens=COLUMN, --map steps=COLUMN or --map tokens_per_param=COLUMN",
    "batch_tokens": "add --map batch_tokens=COLUMN, "
    "or --map batch_sequences=COLUMN with --set sequence_length=2048",
    "learning_rate": "add --map learning_rate=COLUMN",
    "loss": "add --map loss=COLUMN (nats/token), --map loss_bits=COLUMN or --map perplexity=COLUMN",
}


class Imported(NamedTuple):
    """A valid run table, notes in plain words, and how each role was read (none for a known layout)."""

    table: pd.DataFrame
    notes: list[str]
    readings: list[Reading]


def import_runs(
    source: PathLike,
    study: str | None = None,
    adapter: str | None = None,
    mapping: Mapping[str, str] | None = None,
    constants: Mapping[str, Any] | None = None,
    diverged_ratio: float = DIVERGED_RATIO,
    rename: Mapping[str, str] | None = None,
    confirm: bool = False,
) -> tuple[pd.DataFrame, list[str]]:
    """Read a foreign table, or the runs of a tracker or trainer, and convert them to a run table.

    Args:
        source: .csv, .parquet or .jsonl (the wandb adapter also takes .json); a folder, store or address of a
            tracker (wandb://ENTITY/PROJECT, http://HOST:PORT of MLflow), which is recognised by its files.
        study: names the set-up of these runs; layouts of published tables have their own default.
        adapter: a known layout, one of `bayeslaw.runs.layouts.LAYOUTS`; None reads columns by their names.
        mapping: role to column, where names do not say it (`{"batch_sequences": "bs"}`).
        constants: role to value, the same for every run (`{"optimizer": "adamw"}`).
        diverged_ratio: see `bayeslaw.runs.schema.mark_diverged`.
        rename: names of optimizers in the table to names for them, before
            `bayeslaw.runs.optimizer_names.canonical` settles the spelling of the others.
        confirm: whether to take the guesses of `bayeslaw.runs.guesses` for what names do not say; without it
            an error lists them.

    Returns:
        A valid run table, and notes in plain words: what was converted, dropped, or looks wrong.

    Raises:
        BadInput: a required column is missing or of unknown unit, or a row is invalid.
    """
    found = imported(source, study, adapter, mapping, constants, diverged_ratio, rename, confirm)
    return found.table, [*found.notes, *_in_words(found.readings)]


def imported(
    source: PathLike,
    study: str | None = None,
    adapter: str | None = None,
    mapping: Mapping[str, str] | None = None,
    constants: Mapping[str, Any] | None = None,
    diverged_ratio: float = DIVERGED_RATIO,
    rename: Mapping[str, str] | None = None,
    confirm: bool = False,
) -> Imported:
    """As `import_runs`, with how each role was read apart from the notes."""
    name, mapping, constants = str(source), dict(mapping or {}), dict(constants or {})
    _check_constants(constants, name)
    found = None if adapter else found_at(source)
    layout = found or _layout(adapter)
    readings: list[Reading] = []
    if layout.convert is None:
        raw = layout.read(source)
        table, notes, readings = convert(raw, study, mapping, constants, name, confirm)
    else:
        if mapping:
            raise BadInput(
                f"--map {next(iter(mapping))}: adapter {adapter} knows its columns; leave --map out"
            )
        table, notes = converted(layout, layout.read(source), study, name)
        table = table.assign(**constants)
    if found:
        notes = [f"read as {found.name}: {found.help}; --adapter NAME decides otherwise", *notes]
    table, named = _name_optimizers(table, rename or {}, name)
    table, more = _settle(table, diverged_ratio, name)
    return Imported(table, [*notes, *named, *more, *doubts(table)], readings)


def _layout(adapter: str | None) -> Layout:
    if adapter is None:
        return Layout("", (), None, "columns by their names", partial(read_table, nan_is_text=True))
    if adapter not in LAYOUTS:
        raise BadInput(
            f"--adapter {adapter}: unknown; expected one of {', '.join(LAYOUTS)}; "
            "or leave it out and use --map"
        )
    return LAYOUTS[adapter]


def convert(
    raw: pd.DataFrame,
    study: str | None,
    mapping: Mapping[str, str],
    constants: Mapping[str, Any],
    source: str,
    confirm: bool = False,
) -> tuple[pd.DataFrame, list[str], list[Reading]]:
    """Convert columns by role to the units of the run table.

    Every other column is kept under its own name, or as ``original_NAME`` where the run table has that name.

    Args:
        raw: the foreign table.
        study, mapping, constants: as in `import_runs`.
        source: the file, for messages.
        confirm: as in `import_runs`.

    Returns:
        A run table, not yet checked row by row, notes on columns and rows, and a reading per role.

    Raises:
        BadInput: names everything that is missing or ambiguous at once.
    """
    if raw.empty:
        raise BadInput(f"{source}: no rows; expected one row a run; check the export or its filter")
    raw = raw.rename(columns=str).reset_index(drop=True)
    raw = raw.drop(columns=[name for name in constants if name in raw]).assign(**constants)
    if study is not None:
        raw["study"] = study
    raw, united = unite(raw, mapping)
    roles = resolve_roles(raw.columns, mapping, source, confirm)
    raw = _numbers_but_for(raw, roles.get("loss"))
    table, follows = _by_role(raw, roles, source)
    guessed = guesses(raw, roles, {name for name in HINTS if name not in table})
    if confirm and guessed:
        raw = raw.assign(**{each.column: each.values for each in guessed if each.values is not None})
        roles |= {each.role: each.column for each in guessed}
        table, follows = _by_role(raw, roles, source)
    _require(table, roles, raw, guessed, source)
    columns = {role: raw[name] for role, name in roles.items()}
    own = [role for role in roles if role in BY_NAME or role.startswith("extra_")]
    kept = [name for name in raw if name not in roles.values()]
    notes = [f"kept without using: {', '.join(kept)}"] if kept else []
    notes += [*united, *_peak_notes(roles, raw, {*mapping, *constants}, source)]
    if "loss_kind" not in table and "loss" in roles:
        table["loss_kind"] = loss_kind(roles["loss"])
    notes += _add_status(table, columns.get("status"))
    notes += _stop_short(table, columns)
    direct = {roles[role] for role in own}
    rest = raw[[name for name in raw if name not in direct]]
    table = table.join(rest.rename(columns=lambda name: f"original_{name}" if name in BY_NAME else name))
    notes += _add_ids(table, raw, borrowed=roles.get("run_id") != "run_id" and "run_id" not in mapping)
    said = dict.fromkeys(mapping, "said with --map") | dict.fromkeys(constants, "said with --set")
    said |= {each.role: f"guessed: {each.reason}" for each in guessed} | ({"study": "said"} if study else {})
    readings = [Reading(role, name, said.get(role) or reason(role, name)) for role, name in roles.items()]
    return table, notes, readings + follows


def _by_role(raw: pd.DataFrame, roles: Mapping[str, str], source: str) -> tuple[pd.DataFrame, list[Reading]]:
    """Columns of the run table by their roles, and those that follow from them."""
    columns = {role: raw[name] for role, name in roles.items()}
    own = [role for role in roles if role in BY_NAME or role.startswith("extra_")]
    table = pd.DataFrame({role: columns[role] for role in own})
    return table, _add_converted(table, columns, source)


def _numbers_but_for(raw: pd.DataFrame, loss: str | None) -> pd.DataFrame:
    """Read columns of numbers and NaN texts as numbers; in the loss, a NaN text means a diverged run."""
    nan = {
        name: raw[name].astype("str").str.lower() == "nan"
        for name in raw
        if name != loss and name not in TEXT and raw[name].dtype.kind not in "ifb"
    }
    cleaned = {name: raw[name].mask(where).infer_objects() for name, where in nan.items() if where.any()}
    return raw.assign(**narrow(pd.DataFrame(cleaned, index=raw.index)))


def _add_converted(table: pd.DataFrame, columns: Mapping[str, pd.Series], source: str) -> list[Reading]:
    """Fill in place columns that follow from other units; columns that are given directly stay."""
    given = {
        role: _number_of(role, columns[role], source) for role in columns if role in USED or role == "beta1"
    }
    found = follow(given)
    for role, (values, _) in found.items():
        if role in BY_NAME:
            table[role] = values
    _add_betas(table, columns, given)
    return [Reading(role, ", ".join(row.needs), row.words) for role, (_, row) in found.items()]


def _number_of(role: str, values: pd.Series, source: str) -> pd.Series:
    """A role's column as numbers; the loss of a run table is checked later, and yes and no are 1 and 0."""
    if role == "tied_embeddings":
        return values.astype("str").str.lower().map({"true": 1.0, "1": 1.0, "false": 0.0, "0": 0.0})
    return values if role == "loss" else _numeric(values, role, source)


def _add_betas(table: pd.DataFrame, columns: Mapping[str, pd.Series], given: dict[str, pd.Series]) -> None:
    """Use Adam's beta1 as momentum of runs without one; ``betas`` may hold both as ``[0.9, 0.95]``."""
    if "betas" in columns:
        pairs = columns["betas"].astype("str").str.extract(r"([\d.eE-]+)\s*,\s*([\d.eE-]+)").astype(float)
        given.setdefault("beta1", pairs[0])
        table["beta2"] = table.get("beta2", pairs[1])
    if "beta1" in given:
        momentum = table.get("momentum", pd.Series(math.nan, index=table.index))
        table["momentum"] = momentum.fillna(given["beta1"])


def _require(
    table: pd.DataFrame, roles: Mapping[str, str], raw: pd.DataFrame, guessed: Sequence[Guess], source: str
) -> None:
    """Raise one error that names everything missing or ambiguous, and what to add."""
    missing = [name for name in HINTS if name not in table]
    if not missing:
        return
    lines = [f"  {name}: {_hint(name, roles, raw)}" for name in missing]
    lines += [f"  or are they {name}'s? add --adapter {name}" for name in fitting(raw)]
    lines += ["--confirm would read:"] if guessed else []
    lines += [f"  {each.column} as {each.role}: {each.reason}" for each in guessed]
    shown = ", ".join(raw.columns[:60]) + (", ..." if len(raw.columns) > 60 else "")
    raise BadInput("\n".join([f"{source} does not say what these runs are:", *lines, f"columns: {shown}"]))


def _hint(name: str, roles: Mapping[str, str], raw: pd.DataFrame) -> str:
    if name == "batch_tokens" and "batch_sequences" in roles:
        return f"{roles['batch_sequences']} counts sequences; add --set sequence_length=2048"
    if name == "params_nonembedding" and "params_total" in roles:
        return f"{roles['params_total']} includes embeddings; add --map params_embedding=COLUMN"
    if name == "tokens" and "steps" in roles:
        return f"follows from {roles['steps']} once the batch is known"
    if name == "tokens" and "tokens_per_param" in roles:
        return f"follows from {roles['tokens_per_param']} once the parameters are known"
    unsaid = ambiguous(name, raw.columns)
    if unsaid and name == "learning_rate":
        return f"is {unsaid} the peak, or the last one logged? add --map learning_rate={unsaid} if the peak"
    if unsaid and name == "batch_tokens":
        length = "" if "sequence_length" in roles else " with --set sequence_length=2048"
        return (
            f"does {unsaid} count sequences or tokens? "
            f"add --map batch_sequences={unsaid}{length}, or --map batch_tokens={unsaid}"
        )
    if unsaid:
        return (
            f"does {unsaid} include embeddings? add --map params_nonembedding={unsaid} if not, "
            f"or --map params_total={unsaid} with --map params_embedding=COLUMN"
        )
    return HINTS[name]


def _in_words(readings: Sequence[Reading]) -> list[str]:
    """One note on the roles that have another name in the table, or follow from others."""
    read = [f"{column} as {role}" for role, column, _ in readings if column != role]
    return [f"read {'; '.join(read)}"] if read else []


def _peak_notes(roles: Mapping[str, str], raw: pd.DataFrame, said: set[str], source: str) -> list[str]:
    """Which of several learning rates was taken as the peak, and whether a loss may be a mean over the run.

    Raises:
        BadInput: where another learning rate is higher, so that the one taken is no peak.
    """
    notes = []
    rate, loss = roles["learning_rate"], roles.get("loss", "")
    others = [] if "learning_rate" in said else passed_over("learning_rate", raw.columns, rate)
    taken = pd.to_numeric(raw[rate], errors="coerce")
    for other in others:
        higher = pd.to_numeric(raw[other], errors="coerce") > 1.001 * taken
        if higher.any():
            raise BadInput(
                f"{source}: {other} is higher than {rate} in {higher.sum()} rows; "
                "expected the peak learning rate; "
                f"add --map learning_rate={other}, or --map learning_rate={rate} if that is the peak"
            )
    if others:
        notes.append(f"took {rate} as the peak learning rate, not {', '.join(others)}")
    if "loss" not in said and re.split(r"[./]", loss.lower())[-1] == "train_loss":
        notes.append(
            f"is {loss} the last, or the mean over the run, as the Trainer of transformers reports it? "
            "expected the final loss"
        )
    return notes


def _add_status(table: pd.DataFrame, states: pd.Series | None) -> list[str]:
    """Fill status in place: from the source's word, a loss recorded as NaN, else whether there is a loss."""
    recorded_nan = table["loss"].map(lambda value: isinstance(value, str) and "nan" in value.lower())
    missing = table["loss"].isna()
    if states is None:
        status = pd.Series("finished", index=table.index)
    else:
        words = states.astype("str").fillna("").str.strip().str.lower().str.removeprefix("trialstate.")
        status = words.map(lambda word: STATE_OF.get(re.sub(r"[\s-]+", "_", word), word))
        status = status.mask(states.isna(), "finished")
    lost = missing & (status == "finished")
    table["status"] = status.mask(lost, "crashed").mask(recorded_nan, "diverged")
    notes = []
    if states is None:
        notes.append("no status column: runs with a loss count as finished")
    elif (words == "terminated").any():
        notes.append(
            f"runs with state TERMINATED, counted as finished: {(words == 'terminated').sum()}; "
            "Ray says so too where its scheduler stopped a trial early: drop those"
        )
    if lost.any():
        notes.append(f"runs without a loss, counted as crashed: {lost.sum()}")
    if recorded_nan.any():
        notes.append(f"runs with a loss of NaN, counted as diverged: {recorded_nan.sum()}")
    return notes


WHOLE = 0.95
"""Share of the planned steps from which a run of unknown state is whole: the last log may be earlier."""


def _stop_short(table: pd.DataFrame, columns: Mapping[str, pd.Series]) -> list[str]:
    """Mark in place runs of unrecorded state that ended before their planned steps as stopped."""
    if "steps" not in columns or "last_step" not in columns:
        return []
    last, planned = (pd.to_numeric(columns[role], errors="coerce") for role in ("last_step", "steps"))
    unsaid = columns["status"].isna() if "status" in columns else pd.Series(True, index=table.index)
    short = unsaid & (last < WHOLE * planned) & (table["status"] == "finished")
    table["status"] = table["status"].mask(short, "stopped")
    ended = f"{short.sum()} of {len(table)}"
    return (
        [f"runs that ended before {WHOLE:.0%} of their steps, counted as stopped: {ended}"]
        if short.any()
        else []
    )


def _name_optimizers(
    table: pd.DataFrame, rename: Mapping[str, str], source: str
) -> tuple[pd.DataFrame, list[str]]:
    """Optimizers by the names that the user gave, else by those of `canonical`; with a note of the latter."""
    if "optimizer" not in table:  # what is missing is told by `validate`
        return table, []
    given = {str(name): str(name).strip().lower() for name in table["optimizer"].dropna().unique()}
    wanted = {old.strip().lower(): new.strip().lower() for old, new in rename.items()}
    for old in wanted:
        if old not in given.values():
            raise BadInput(
                f"{source}: --rename {old}={wanted[old]}: no such optimizer; expected one of "
                f"{', '.join(list(given)[:30])}; name one of these"
            )
    names = {name: wanted.get(plain) or canonical(plain) for name, plain in given.items()}
    changed = [name for name, plain in given.items() if names[name] != plain]
    guessed = [name for name in changed if given[name] not in wanted]
    keep = f" (to keep a name: --rename {guessed[0]}={guessed[0]})" if guessed else ""
    read = ", ".join(f"{name} as {names[name]}" for name in changed)
    named = table["optimizer"].map(lambda name: names.get(str(name), name))
    return table.assign(optimizer=named), [f"read optimizer {read}{keep}"] if changed else []


def _settle(table: pd.DataFrame, ratio: float, source: str) -> tuple[pd.DataFrame, list[str]]:
    """Drop copies and lost runs, mark diverged runs, and check every row; with notes."""
    notes = []
    copies = table.astype(str).duplicated()
    if copies.any():
        notes.append(f"dropped exact copies of other rows: {copies.sum()}")
    numbers = np.arange(1, len(table) + 1)
    lost = (table["status"] != "finished") & table[[n for n in REQUIRED if n in table]].isna().any(axis=1)
    if (lost & ~copies).any():
        notes.append(f"dropped unfinished runs of incomplete configuration: {(lost & ~copies).sum()}")
    keep = ~(copies | lost)
    infinite = (pd.to_numeric(table["loss"], errors="coerce") > MOST_LOSS) & (table["status"] == "finished")
    table = table.assign(status=table["status"].mask(infinite, "diverged"))[keep]
    table = validate(table, source, row_numbers=numbers[keep].tolist())
    table, merged = merge_rounded(table)
    notes += merged
    marked = mark_diverged(table, ratio)
    small = (marked["status"] == "stopped") & (table["status"] == "finished")
    if small.any():
        notes.append(
            f"losses too small to be true, runs set aside as stopped: {which(table, small)}; correct them"
        )
    changed = int((marked["status"] != table["status"]).sum() - small.sum() + (infinite & keep).sum())
    if changed:
        notes.append(
            f"runs counted as diverged: {changed} "
            f"(loss above {ratio:g} times the smallest of their cell, far above their study, or infinite)"
        )
    return _ordered(marked), notes


def _ordered(table: pd.DataFrame) -> pd.DataFrame:
    """Put known columns first, in the order of the schema."""
    known = [name for name in BY_NAME if name in table]
    return table[[*known, *(name for name in table if name not in BY_NAME)]]


def _add_ids(table: pd.DataFrame, raw: pd.DataFrame, borrowed: bool) -> list[str]:
    """Fill run_id in place where it is missing or names several runs.

    A derived id ends in a hash of the whole row, so copies get equal ids in any order.
    """
    hashes = pd.util.hash_pandas_object(raw.astype(str), index=False).map(lambda value: f"{value:016x}"[:8])
    ids = table["run_id"] if "run_id" in table else pd.Series(None, index=table.index, dtype="object")
    distinct = ids[~pd.DataFrame({"id": ids, "hash": hashes}).duplicated()].dropna()
    missing = ids.isna()
    repeated = ids.isin(distinct[distinct.duplicated()]) & borrowed
    owner = (table["study"].astype(str) + "-" + table["optimizer"].astype(str)).where(missing, ids)
    table["run_id"] = ids.where(~(missing | repeated), owner + "-" + hashes)
    return [
        *(["runs without an id got one made of their configuration"] if missing.any() else []),
        *(["runs that share a name got a hash of their configuration added"] if repeated.any() else []),
    ]


def _numeric(values: pd.Series, role: str, source: str) -> pd.Series:
    """Convert to float64. Text that is not a number is an error, since the conversion would lose it."""
    numbers = pd.to_numeric(values, errors="coerce").astype("float64")
    wrong = values.notna() & numbers.isna() & (values.astype(str).str.lower() != "nan")
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise BadInput(
            f"{source}: row {row + 1}: {role} = {str(values.iloc[row])[:60]!r}; expected a number; "
            f"correct it, or map another column with --map {role}=COLUMN"
        )
    return numbers


def _check_constants(constants: Mapping[str, Any], source: str) -> None:
    for name, value in constants.items():
        if name not in ROLES:
            known = ", ".join(BY_NAME)
            raise BadInput(f"{source}: --set {name}={value}: unknown column; expected one of {known}")
