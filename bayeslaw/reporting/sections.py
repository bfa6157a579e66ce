"""Sections of the report in HTML: what was fitted, convergence, results, provenance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from bayeslaw.advice.result import Prediction
from bayeslaw.intervals import interval
from bayeslaw.law.parameters import derived
from bayeslaw.law.terms import words_of
from bayeslaw.posterior.draws import Posterior, parameter_name
from bayeslaw.target import NEVER_SEEN
from bayeslaw.text import percent, setting, short

# ------------------------------------------------------------------------------------------ the summary


def summary(posterior: Posterior, result: Prediction) -> str:
    """Summary: what was fitted, whether it converged, what it recommends, how far to trust it.

    Args:
        posterior: the fit.
        result: result of ``bayeslaw.advice.prediction.predict`` at the example target.
    """
    converged, evidence = convergence(posterior)
    verdict = f'<span class="verdict {"good" if converged else "bad"}">{"Yes" if converged else "No"}</span>'
    answers = {
        "What was fitted?": f"<p>{escape(fitted(posterior))}</p>",
        "Did it converge?": f"<p>{verdict}: {escape(evidence)}</p>",
        "What does it recommend?": f"<p>For example, for {escape(asked(result))}:</p>{tiles(result)}",
        "How far to trust it?": "".join(f"<p>{escape(text)}</p>" for text in trust(result))
        + bullets(result.warnings),
    }
    items = "".join(f"<dt>{escape(question)}</dt><dd>{text}</dd>" for question, text in answers.items())
    return f'<dl class="questions">{items}</dl>'


def fitted(posterior: Posterior) -> str:
    """Runs, optimizers, studies and ranges, in two sentences."""
    origin, studies = posterior.provenance, posterior.studies
    rows, by_study = origin.get("rows"), origin.get("rows_by_study", {})
    statuses = ", ".join(f"{count:,} {name}" for name, count in origin.get("statuses", {}).items())
    runs = f"{rows:,} runs" if isinstance(rows, int) else "Runs"
    named = ", ".join(f"{name} ({by_study[name]:,} runs)" if name in by_study else name for name in studies)
    sizes = [
        f"{letter} from {short(min(values))} to {short(max(values))}"
        for letter, values in zip("ND", list(zip(*posterior.cells, strict=True))[2:4], strict=True)
    ]
    return (
        f"{runs}{f' ({statuses})' if statuses else ''} of {_count(len(posterior.optimizers), 'optimizer')} "
        f"in {_count(len(studies), 'study', 'studies')}: {named}. They lie in "
        f"{_count(len(posterior.cells), 'cell')} (one model size, one number of tokens), {sizes[0]} "
        f"parameters without embeddings, {sizes[1]} tokens."
    )


def convergence(posterior: Posterior) -> tuple[bool, str]:
    """Whether the chains agree, and the numbers that say so."""
    told = posterior.diagnostics
    if "rhat_max" not in told:
        return bool(told.get("converged")), "the file carries no diagnostics."
    parts = [f"R-hat up to {told['rhat_max']:.3f}"]
    if "ess_bulk_min" in told and "ess_tail_min" in told:
        least = min(told["ess_bulk_min"], told["ess_tail_min"])
        parts.append(f"at least {least:.0f} effective draws of every parameter")
    if "divergences" in told:
        parts.append(_count(told["divergences"], "divergent transition"))
    numbers = ", ".join(parts)
    if told.get("converged"):
        return True, f"the chains agree ({numbers})."
    return False, f"{numbers}. Fit again with more draws (--draws) before relying on the intervals."


def asked(result: Prediction) -> str:
    """Description of the target."""
    target = result.target
    n, d = short(target.params_nonembedding), short(target.tokens)
    return f"{target.optimizer}, N = {n}, D = {d} tokens, {target.study or NEVER_SEEN}"


def tiles(result: Prediction) -> str:
    """The recommendation, the loss and the regret, one tile each."""
    level = _level(result)
    loss, regret = result.loss_nats_per_token, result.regret
    shown = [
        (words_of(name), setting(name, value), f"best: {_span(name, result)}")
        for name, value in result.recommendation.items()
    ]
    shown += [
        ("loss, nats/token", f"{loss.median:.3f}", f"{loss.lower:.3f} to {loss.upper:.3f}"),
        ("expected regret", percent(regret.expected), f"below {percent(regret.upper)} ({level})"),
    ]
    cells = "".join(
        f'<div><dt>{escape(name)}</dt><dd><span class="value">{escape(value)}</span><br>'
        f'<span class="more">{escape(more)}</span></dd></div>'
        for name, value, more in shown
    )
    return f'<dl class="tiles">{cells}</dl>'


def trust(result: Prediction) -> list[str]:
    """Width, cost and distance of the advice, and what no interval covers."""
    level, regret, beyond = _level(result), result.regret, result.extrapolation
    rate = result.optimum["learning_rate"]
    far = [
        f"{beyond[name]:.1f} decades in {letter}"
        for letter, name in (("N", "params_decades"), ("D", "tokens_decades"))
        if beyond[name] >= 0.05
    ]
    place = f"lies {' and '.join(far)} outside the fitted runs" if far else "lies within the fitted runs"
    return [
        f"The {level} interval of the best learning rate spans a factor of "
        f"{rate.upper / rate.lower:.2g}, but the basin is wide: the expected regret, the loss given "
        f"away by not knowing the best settings, is {percent(regret.expected)} of the loss, and below "
        f"{percent(regret.upper)} with probability {level}.",
        f"This target {place}. The intervals widen with distance and assume that the power laws go on: no "
        "sweep of small runs can rule out a change of regime. They hold for the same data, tokenizer, "
        "schedule and kind of loss.",
    ]


def answer(result: Prediction) -> str:
    """Answer of the calculator at the example target; the page replaces its numbers (``page.js``)."""
    level = f'<span class="level">{_level(result)}</span>'
    loss, regret, beyond = result.loss_nats_per_token, result.regret, result.extrapolation
    rows = "".join(
        f'<tr><th scope="row">{escape(words_of(name))}</th><td>{setting(name, value)}</td>'
        f"<td>{_span(name, result)}</td></tr>"
        for name, value in result.recommendation.items()
    )
    doubts = "".join(f"<li>{escape(text)}</li>" for text in result.warnings)
    return f"""<table><caption id="asked">{escape(asked(result))}</caption>
<thead><tr><th scope="col">setting</th><th scope="col">use</th>
<th scope="col">the best lies in ({level})</th></tr></thead>
<tbody id="advice">{rows}</tbody></table>
<dl class="tiles">
<div><dt>loss, nats/token</dt><dd><span class="value" id="loss">{loss.median:.3f}</span><br>
<span class="more" id="loss-interval">{loss.lower:.3f} to {loss.upper:.3f}</span></dd></div>
<div><dt>expected regret, of the loss</dt><dd>
<span class="value" id="regret">{percent(regret.expected)}</span><br>
<span class="more">below <span id="regret-upper">{percent(regret.upper)}</span> ({level})</span></dd></div>
<div><dt>decades beyond the runs</dt><dd><span class="value"><span id="beyond-params">
{beyond["params_decades"]:.1f}</span> in N</span><br><span class="more"><span id="beyond-tokens">
{beyond["tokens_decades"]:.1f}</span> in D</span></dd></div>
</dl>
<p class="hint" id="cell"></p>
<div class="doubts"><h3>Warnings</h3><p id="no-doubts"{" hidden" if doubts else ""}>None.</p>
<ul id="doubts">{doubts}</ul></div>"""


# ----------------------------------------------------------------------------------------------- tables


def exponents(posterior: Posterior) -> str:
    """Medians and 90% intervals of the exponents, one row per group."""
    from bayeslaw.diagnosis.summary import EXPONENTS, LEVEL

    values = posterior.group | derived(posterior.group)
    rows = []
    for i, (study, optimizer) in enumerate(posterior.groups):
        found = [interval(values[name][:, i], LEVEL) for name in EXPONENTS]
        rows.append(
            [
                study,
                optimizer,
                *(f"{x.median:z.2f} ({x.lower:z.2f} to {x.upper:z.2f})" for x in found),
            ]
        )
    meaning = (
        "The best learning rate goes as N to the power -gamma and D to the power -delta, at the best batch, "
        f"which goes as D to the power epsilon. Medians and {LEVEL:.0%} intervals."
    )
    return f"<p>{meaning}</p>" + table("Exponents", ["study", "optimizer", *EXPONENTS], rows)


def diagnostics(posterior: Posterior, doubts: Sequence[str]) -> str:
    """Diagnostics of the chains beside their thresholds, the worst parameters, and warnings on the runs.

    Args:
        posterior: the fit.
        doubts: warnings of ``bayeslaw.diagnosis.identifiability.fit_doubts``, if the runs are given.
    """
    from bayeslaw.posterior.convergence import ESS_MIN, RHAT_MAX

    told = posterior.diagnostics
    wanted = {
        "rhat_max": ("largest R-hat", "{:.3f}", f"at most {told.get('rhat_limit', RHAT_MAX):.3g}"),
        "ess_bulk_min": ("least effective draws, bulk", "{:.0f}", f"at least {ESS_MIN:.0f}"),
        "ess_tail_min": ("least effective draws, tails", "{:.0f}", f"at least {ESS_MIN:.0f}"),
        "divergences": ("divergent transitions", "{}", "0"),
        "chains": ("chains", "{}", ""),
        "draws": ("draws per chain", "{:,}", ""),
        "seconds": ("seconds", "{:,.0f}", ""),
    }
    rows = [
        [words, form.format(told[name]), limit]
        for name, (words, form, limit) in wanted.items()
        if name in told
    ]
    rows.append(["draws kept", f"{posterior.draws:,}", ""])
    worst = [
        [
            parameter_name(posterior, each["parameter"]),
            *(f"{each[k]:.{p}f}" for k, p in (("rhat", 4), ("ess_bulk", 0), ("ess_tail", 0))),
        ]
        for each in told.get("worst", [])
    ]
    parts = [bullets(told.get("messages", [])), table("Convergence", ["measure", "found", "wanted"], rows)]
    if worst:
        header = ["parameter", "R-hat", "effective draws, bulk", "tails"]
        parts += ["<h3>Parameters nearest to failing</h3>", table("Worst parameters", header, worst)]
    if doubts:
        parts += ["<h3>What these runs cannot tell</h3>", bullets(doubts)]
    return "".join(parts)


def provenance(posterior: Posterior, place: str) -> str:
    """Provenance of the draws, and conventions of each study."""
    told = {"posterior": place} | posterior.provenance
    rows = [[name.replace("_", " "), _plain(value)] for name, value in told.items()]
    names = sorted({name for study in posterior.conventions.values() for name in study})
    kept = [
        [study, *(_plain(told.get(name, "")) for name in names)]
        for study, told in posterior.conventions.items()
    ]
    parts = [table("Provenance", None, rows)]
    if names:
        header = ["study", *(name.replace("_", " ") for name in names)]
        parts += ["<h3>Conventions</h3>", table("Conventions", header, kept)]
    return "".join(parts)


def table(title: str, header: Sequence[str] | None, rows: Iterable[Sequence[object]]) -> str:
    """Format a table whose first cells name the rows, in a frame that scrolls on narrow screens.

    Args:
        title: text alternative.
        header: header of the columns; None for a table of names and long values.
        rows: texts or numbers.

    >>> table("Sizes", None, [["x", "<"]])
    '<div class="scroll" ...><table class="long"><tbody><tr><th scope="row">x</th><td>&lt;</td></tr>...'
    """
    body = "".join(
        f'<tr><th scope="row">{escape(str(first))}</th>'
        + "".join(f"<td>{escape(str(cell))}</td>" for cell in rest)
        + "</tr>"
        for first, *rest in rows
    )
    names = "".join(f'<th scope="col">{escape(name)}</th>' for name in header or ())
    kind, head = ("", f"<thead><tr>{names}</tr></thead>") if header else (' class="long"', "")
    frame = f'class="scroll" role="region" tabindex="0" aria-label="{escape(title)}"'
    return f"<div {frame}><table{kind}>{head}<tbody>{body}</tbody></table></div>"


def bullets(texts: Iterable[object]) -> str:
    """Format a list; empty without texts."""
    items = "".join(f"<li>{escape(str(text))}</li>" for text in texts)
    return f"<ul>{items}</ul>" if items else ""


def _span(name: str, result: Prediction) -> str:
    best = result.optimum[name]
    return f"{setting(name, best.lower)} to {setting(name, best.upper)}"


def _level(result: Prediction) -> str:
    return f"{100 * result.level:g}%"


def _count(count: int, name: str, several: str | None = None) -> str:
    """Count things in words: ``1 study``, ``2 studies``."""
    return f"{count:,} {name if count == 1 else several or name + 's'}"


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_plain(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(_plain(item) for item in value)
    if isinstance(value, float):
        return f"{value:g}"
    return f"{value:,}" if isinstance(value, int) and value >= 1000 else str(value)
