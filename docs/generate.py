"""Write the generated parts of the pages in this folder: ``python docs/generate.py``.

A part stands between ``<!-- generated: NAME -->`` and ``<!-- end -->``; ``PARTS`` says what it is made of.
``tests/test_docs.py`` fails where a page is behind the code.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable, Iterable, Sequence
from math import exp
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from bayeslaw.cli.app import app
from bayeslaw.cli.listing import LISTED, Listing, listed_help
from bayeslaw.files import write_atomically
from bayeslaw.hardware import DEVICES
from bayeslaw.lab.models.networks import NETWORKS
from bayeslaw.lab.train.optimizers import OPTIMIZERS
from bayeslaw.law import parameters, published
from bayeslaw.law.parameters import Parameter, of_level
from bayeslaw.law.rules import RULES
from bayeslaw.law.terms import OPTIMA, formula
from bayeslaw.planning.policies import POLICIES
from bayeslaw.runs import column_names, conversions, importing, layouts, optimizer_names, schema

FOLDER = Path(__file__).parent
MARKED = re.compile(r"(?<=<!-- generated: )([\w-]+)( -->\n).*?(?=<!-- end -->)", re.S)
WORDS = {Path: "PATH", str: "TEXT", float: "NUMBER", int: "COUNT"}


def filled(page: str) -> str:
    """A page with its generated parts as the code has them now."""
    return MARKED.sub(lambda found: f"{found[1]}{found[2]}{PARTS[found[1]]()}\n", page)


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(x).replace("|", "\\|") for x in line) + " |" for line in lines)


# ------------------------------------------------------------------------------------------ the model


def families() -> str:
    """Priors of the partially pooled parameters."""
    rows = [
        (f"`{name}`", mean(f), f.sd, f.between_optimizers, f.between_studies, f.why)
        for name, f in of_level("group").items()
    ]
    return table(["parameter", "mean", "sd", "between optimizers", "between studies", "reason"], rows)


def study_parameters() -> str:
    """Priors of each study's own parameters, and of those that all groups share."""
    known = of_level("study", parameters.PARTS) | of_level("common", parameters.PARTS)
    rows = [(f"`{name}`", row.part, mean(row), row.sd, row.why) for name, row in known.items()]
    return table(["parameter", "part", "mean", "sd", "reason"], rows)


def mean(row: Parameter) -> str:
    """A prior mean, as ``ln x`` where the parameter is a logarithm."""
    if row.logarithm:
        return "ln " + f"{exp(row.mean):.3g}".replace("e+0", "e")
    return f"{row.mean:.3g}"


def optima() -> str:
    """What the optimum of each hyperparameter is made of."""
    rows = []
    for name, row in OPTIMA.items():
        offset = f"{row.transform.offset:g} + " if row.transform.sign > 0 and row.transform.offset else ""
        text = f"ln({offset}{name})" if row.transform.sign > 0 else f"ln({row.transform.offset:g} - {name})"
        rows.append((f"`{name}`", text, f"`{formula(row.terms)}`"))
    return table(["hyperparameter", "coordinate", "best value"], rows)


# ------------------------------------------------------------------------------------------ files


def roles_table() -> str:
    """Names by which an import finds each role."""
    rows = [
        (f"`{role}`", ", ".join(f"`{name}`" for name in others.split()))
        for role, others in column_names.SYNONYMS.items()
    ]
    return table(["role", "other names"], rows)


def conversions_table() -> str:
    """Roles that follow from others."""
    return table(["role", "from"], [(f"`{row.role}`", row.words) for row in conversions.CONVERSIONS])


def states() -> str:
    """Words of foreign tables for how a run ended."""
    rows = [(f"`{status}`", words.replace(" ", ", ")) for status, words in importing.STATES.items()]
    return table(["status", "words"], rows)


def optimizers_table() -> str:
    """Spellings of each optimizer."""
    rows = [
        (f"`{name}`", ", ".join(f"`{alias}`" for alias in aliases.split()))
        for name, aliases in optimizer_names.ALIASES.items()
    ]
    return table(["optimizer", "other spellings"], rows)


def layouts_table() -> str:
    """Layouts of tables that an import knows."""
    return table(
        ["layout", "what it is"], [(f"`{each.name}`", each.help) for each in layouts.LAYOUTS.values()]
    )


def laws_table() -> str:
    """Published laws."""
    rows = [
        (f"`{law.name}`", law.formula, law.units, _range(law), law.source, law.note)
        for law in published.LAWS.values()
    ]
    return table(["name", "formula", "units", "fitted range", "source", "note"], rows)


def _range(law: published.Law) -> str:
    spans = {"N": law.params_range, "D": law.tokens_range, "C": law.flops_range}
    return ", ".join(f"{name} {x[0]:.2g} to {x[1]:.2g}" for name, x in spans.items() if x) or "not stated"


def rules_table() -> str:
    """Published rules that carry a tuned run."""
    rows = [
        (f"`{rule.name}`", rule.optimizer, rule.formula, rule.source, rule.note) for rule in RULES.values()
    ]
    return table(["name", "for", "formula", "source", "note"], rows)


def optimizers() -> str:
    """Optimizers of the training lab, with their usual values."""
    names = ("momentum", "beta2", "epsilon", "weight_decay")
    rows = []
    for name, entry in OPTIMIZERS.items():
        usual = (getattr(entry.defaults, each) for each in names)
        rows.append((f"`{name}`", *("" if x is None else f"{x:g}" for x in usual), entry.source))
    return table(["name", *(f"`{each}`" for each in names), "source"], rows)


def networks() -> str:
    """Networks of the training lab, what each reads and leaves no choice of."""
    rows = [
        (
            f"`{name}`",
            "images" if entry.images else "text",
            ", ".join(f"`{each}` {str(value).lower()}" for each, value in entry.fixed.items()),
            entry.source,
        )
        for name, entry in NETWORKS.items()
    ]
    return table(["`model`", "reads", "no choice of", "source"], rows)


def policies() -> str:
    """Ways to choose the next run."""
    return table(["policy", "score of a candidate"], [(f"`{k}`", row.help) for k, row in POLICIES.items()])


# ------------------------------------------------------------------------------------------ commands


def devices() -> str:
    """Accelerators that a cost is counted on."""
    rows = [(f"`{name}`", f"{d.peak:.3g}", f"{d.watts:g}", d.source) for name, d in DEVICES.items()]
    return table(["device", "dense peak, FLOP/s", "power, W", "source"], rows)


def commands() -> str:
    """Every command of ``bayeslaw``: usage, what it does, arguments and options.

    Read from the functions' own annotations, which stay as they are when typer changes its help.
    """
    single = [(info.name, info) for info in app.registered_commands]
    grouped = [
        (f"{group.info.name} {info.name}", info)
        for group in (each.typer_instance for each in app.registered_groups)
        if group
        for info in group.registered_commands
    ]
    return "\n".join(command(name, x.callback, x.cls is Listing) for name, x in single + grouped)


def command(name: str | None, function: Callable[..., Any] | None, lists: bool = False) -> str:
    """One command's section; ``lists`` whether registries write the help of its ``LISTED`` options."""
    assert name is not None
    assert function is not None
    hints = get_type_hints(function, include_extras=True)
    usage, rows = [f"bayeslaw {name}"], []
    for parameter in inspect.signature(function).parameters.values():
        kind, info = get_args(hints[parameter.name])[:2]
        written, value = option(parameter.name, kind, info)
        required = parameter.default is inspect.Parameter.empty
        if required:
            usage.append(f"{written[0]} {value}".strip())
        elif not written[0].startswith("-"):
            usage.append(f"[{written[0]}]")
        shown = f"{', '.join(written)} {value}".strip()
        usual = "required" if required else default(parameter.default)
        help_text = listed_help(parameter.name) if lists and parameter.name in LISTED else info.help
        rows.append((f"`{shown}`", usual, help_text))
    text = explained(inspect.getdoc(function) or "")
    fenced = f"```text\n{' '.join([*usage, '[OPTIONS]'])}\n```"
    return f"## bayeslaw {name}\n\n{text}\n\n{fenced}\n\n{table(['option', 'default', 'meaning'], rows)}\n"


def option(name: str, kind: Any, info: Any) -> tuple[list[str], str]:
    """How a parameter is written on the command line: its names, and what follows them."""
    inner = [each for each in get_args(kind) if each is not type(None)]
    if get_origin(kind) not in (list, None) and len(inner) == 1:  # X | None
        kind = inner[0]
    many = get_origin(kind) is list
    word = WORDS.get(get_args(kind)[0] if many else kind, "")
    if type(info).__name__ == "ArgumentInfo":
        return [name.rstrip("_").upper() + ("..." if many else "")], ""
    declared = [str(each) for each in (info.default, *(info.param_decls or ())) if str(each).startswith("-")]
    return declared or ["--" + name.rstrip("_").replace("_", "-")], word


def default(value: object) -> str:
    """An option's default for a reader; empty for none."""
    return "" if value is None or value is False else f"`{value}`"


def explained(text: str) -> str:
    """A docstring in Markdown: indented paragraphs are commands."""
    parts = []
    for paragraph in text.split("\n\n"):
        indented = all(line.startswith("  ") for line in paragraph.splitlines())
        parts.append(f"```text\n{textwrap.dedent(paragraph)}\n```" if indented else paragraph)
    return "\n\n".join(parts)


PARTS: dict[str, Callable[[], str]] = {
    "columns": schema.columns_markdown,
    "roles": roles_table,
    "conversions": conversions_table,
    "states": states,
    "optimizer-names": optimizers_table,
    "layouts": layouts_table,
    "families": families,
    "study-parameters": study_parameters,
    "laws": laws_table,
    "rules": rules_table,
    "networks": networks,
    "optimizers": optimizers,
    "policies": policies,
    "commands": commands,
    "devices": devices,
}


def main() -> None:
    """Write what has changed."""
    for page in sorted(FOLDER.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        if (now := filled(text)) != text:
            with write_atomically(page) as temporary:
                temporary.write_text(now, encoding="utf-8")
            print(f"{page} written")


if __name__ == "__main__":
    main()
