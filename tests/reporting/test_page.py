"""`bayeslaw report`: the page says what `predict` says, reads well, and needs nothing but itself."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from bayeslaw.advice.prediction import example_target, predict
from bayeslaw.advice.target_surface import lr_batch_excess, surface_at
from bayeslaw.assets import POSTERIOR
from bayeslaw.errors import BadInput
from bayeslaw.law.parameters import PARTS, SIZE_SHIFTS
from bayeslaw.posterior import pooling
from bayeslaw.posterior.draws import parameter_name
from bayeslaw.posterior.netcdf import read_posterior, write_posterior
from bayeslaw.reporting import figures, sections
from bayeslaw.reporting.page import write_report
from bayeslaw.reporting.page_data import (
    FINER_STEPS,
    STEPS_PER_SD,
    packed,
    page_data,
    unpacked,
    unseen_optimizer,
)
from bayeslaw.target import Target
from bayeslaw.text import percent, setting
from tests.support.command import run
from tests.support.fakes import fake_posterior
from tests.support.page_script import OPERATIONS, answers
from tests.support.report_browser import CONTRAST, PREDICT, chromium, opened
from tests.support.sweeps import grid_cell

SIZES = (("ours", 1e8), ("theirs", 1e9))
TARGETS = {
    "far": (Target(7e9, 1.4e11, "adamw", "ours"), 0.9),
    "another optimizer": (Target(7e9, 1.4e11, "muon", "ours"), 0.9),
    "known optimizer, other study": (Target(7e9, 1.4e11, "muon", "theirs"), 0.8),
    "no study": (Target(7e9, 1.4e11, "adamw", None), 0.9),
    "unseen optimizer": (Target(7e9, 1.4e11, "other", "ours"), 0.9),
    "unseen optimizer, no study": (Target(2e9, 4e10, "other", None), 0.95),
    "fixed batch": (Target(7e9, 1.4e11, "adamw", "ours", 2e7), 0.9),
    "small fixed batch": (Target(3e9, 6e10, "muon", None, 3e4), 0.6),
    "narrow level": (Target(7e9, 1.4e11, "adamw", "ours"), 0.5),
    "a fitted cell": (Target(1.0003e8, 2e9, "adamw", "ours"), 0.9),
    "a fitted size": (Target(1e8, 5e9, "muon", "ours"), 0.9),
    "very far": (Target(1e12, 1e14, "adamw", "ours"), 0.9),
    "tiny": (Target(1e4, 2e4, "adamw", "ours"), 0.9),
}


def known_posterior(draws=300, parts=(), sizes=SIZES):
    """All hyperparameters, cells, and sizes with shifts of their own."""
    fit = fake_posterior(draws, extras=("weight_decay", "momentum"), parts=parts)
    rng = np.random.default_rng(5)
    size = {name: 0.05 * rng.standard_normal((draws, len(sizes))) for name in SIZE_SHIFTS}
    tried = {("ours", "adamw"): {"learning_rate": (-3.0, -1.45), "batch_tokens": (-1.0, 1.0)}}
    return replace(fit, sizes=sizes, size=size, tried=tried, only_batch={("ours", "muon"): 2e6})


@pytest.fixture(scope="module")
def fit(tmp_path_factory):
    """As read from a file: draws rounded as a fit's are."""
    path = tmp_path_factory.mktemp("fit") / "p.nc"
    write_posterior(known_posterior(), path)
    return read_posterior(path)


@pytest.fixture(scope="module")
def page_file(fit, tmp_path_factory):
    """A report without its figures, which take longest."""
    path = tmp_path_factory.mktemp("report") / "r.html"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "figures", lambda *_: "")
        write_report(fit, path, "our fits/p.nc")
    return path


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def page(browser, page_file):
    with opened(browser, page_file) as shown:
        yield shown


def numbers(result, place=""):
    """Every number of an answer, by its place."""
    if isinstance(result, dict):
        return {k: v for name, part in result.items() for k, v in numbers(part, f"{place}/{name}").items()}
    return {place: result} if isinstance(result, (int, float)) else {}


# -------------------------------------------------------------------------------- what the page is made of


def test_packed_draws_come_back_to_a_fraction_of_their_spread():
    rng = np.random.default_rng(0)
    draws = {
        "narrow": 1e-6 * rng.standard_normal(500) - 7.0,
        "heavy": rng.standard_t(2.1, 500),
        "constant": np.full(500, np.log(2e-3)),
        "lambda": rng.standard_normal(500),
    }
    back = unpacked(packed(draws))
    assert list(back) == list(draws)
    for name, values in draws.items():
        finest = FINER_STEPS.get(name, STEPS_PER_SD)
        assert np.abs(back[name] - values).max() <= 0.5 * values.std() / finest + 1e-15, name


def test_the_page_holds_every_group_and_none(fit):
    data = page_data(fit)
    assert [study["name"] for study in data["studies"]] == ["ours", "theirs", None]
    for study in data["studies"]:
        assert [group["optimizer"] for group in study["groups"]] == ["adamw", "muon", "other"]
    known = unpacked(data["studies"][2]["groups"][1]["parameters"])
    drawn = pooling.group_draws(fit, None, "muon")
    assert set(known) == set(fit.group)
    for name, values in known.items():
        np.testing.assert_allclose(values, drawn[name], rtol=0, atol=0.51 * drawn[name].std() / STEPS_PER_SD)


def test_an_unseen_optimizer_never_takes_a_known_name():
    groups = (("ours", "other"), ("ours", "other-0"))
    assert unseen_optimizer(fake_posterior(10, groups=groups)) == "other-1"


class Links(HTMLParser):
    """Everything that a page could load or lead to."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        self.found += [value for name, value in attributes if name in ("src", "href", "action", "srcset")]


def test_the_page_stands_alone(page_file):
    text = page_file.read_text(encoding="utf-8")
    links = Links()
    links.feed(text)
    assert links.found
    assert [link for link in links.found if not link.startswith(("#", "data:"))] == []
    assert "default-src 'none'" in text
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest|WebSocket", text)


def test_names_of_studies_are_text_and_no_markup(tmp_path, monkeypatch):
    name = '</script><b onload="x">&'
    fit = fake_posterior(20, groups=((name, "adamw"),))
    monkeypatch.setattr(figures, "figures", lambda *_: "")
    write_report(fit, tmp_path / "r.html", name)
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "<b onload" not in text
    assert text.count("</script>") == 2
    data = re.search(r'id="data">(.*?)</script>', text, re.S)[1]
    assert json.loads(data)["studies"][0]["name"] == name


def test_every_id_is_unique_and_every_label_leads_to_a_field(page_file):
    text = re.sub(r"<script>.*", "", page_file.read_text(encoding="utf-8"), flags=re.S)
    ids = re.findall(r'\bid="([\w-]+)"', text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'<label[^>]* for="([\w-]+)"', text)) == set(
        re.findall(r'<(?:input|select) id="([\w-]+)"', text)
    )


# ------------------------------------------------------------------------------------------- the words


def test_the_summary_says_what_was_fitted_and_how_far_it_reaches(fit):
    assert sections.fitted(fit) == (
        "60 runs of 2 optimizers in 2 studies: ours, theirs. They lie in 6 cells (one model size, one number "
        "of tokens), N from 100M to 1B parameters without embeddings, D from 2B to 20B tokens."
    )
    said = sections.trust(predict(fit, Target(1e10, 2e11, "adamw", "ours")))
    assert "lies 1.0 decades in N and 1.0 decades in D outside the fitted runs" in said[1]
    assert "lies within the fitted runs" in sections.trust(predict(fit, Target(5e8, 1e10)))[1]


@pytest.mark.parametrize(
    ("told", "verdict", "words"),
    [
        (
            {"converged": True, "rhat_max": 1.004, "divergences": 0},
            True,
            "the chains agree (R-hat up to 1.004, 0 div",
        ),
        (
            {"converged": False, "rhat_max": 1.04, "divergences": 1},
            False,
            "1 divergent transition. Fit again",
        ),
        ({}, False, "the file carries no diagnostics."),
    ],
)
def test_convergence_is_judged_in_words(fit, told, verdict, words):
    converged, said = sections.convergence(replace(fit, diagnostics=told))
    assert converged is verdict
    assert words in said


def test_diagnostics_name_what_failed_and_what_the_runs_cannot_tell(fit):
    told = {"rhat_max": 1.04, "messages": ["R-hat is 1.040"], "worst": []}
    text = sections.diagnostics(replace(fit, diagnostics=told), ["one N only"])
    for words in ("<li>R-hat is 1.040</li>", "<td>1.040</td><td>at most 1.01</td>", "<li>one N only</li>"):
        assert words in text


# ---------------------------------------------------------------------------------------- the figures


class Pictures(HTMLParser):
    """Source and words of every picture."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        if tag == "img":
            self.found.append((dict(attributes)["src"], dict(attributes)["alt"]))


def test_parameters_are_named_and_not_numbered(fit):
    told = [
        {"parameter": name, "rhat": 1.0, "ess_bulk": 500.0, "ess_tail": 500.0} for name in ("beta[1]", "bend")
    ]
    shown = sections.diagnostics(replace(fit, diagnostics=fit.diagnostics | {"worst": told}), [])
    assert f"beta[{'/'.join(fit.groups[1])}]" in shown
    assert "beta[1]" not in shown
    assert parameter_name(fit, "cell_lr[0]").startswith(f"cell_lr[{fit.cells[0].study}/")
    assert parameter_name(fit, "gamma[99]") == "gamma[99]"


def test_every_figure_is_in_the_page_with_words_for_it():
    fit = fake_posterior(60)
    told = fit.diagnostics | {"chains": 4, "draws": 15}
    spreads = {name: values * np.linspace(0.9, 1.1, 60) for name, values in fit.between_optimizers.items()}
    fit = replace(fit, diagnostics=told, between_optimizers=spreads, between_studies=spreads)
    runs = grid_cell(1e8, 2e9, (2e-3, 2e5), 2.6, 1e-3).assign(study="ours", sequence_length=2048)
    pictures = Pictures()
    pictures.feed(figures.figures(fit, example_target(fit), runs))
    assert len(pictures.found) == 11
    for source, words in pictures.found:
        assert base64.b64decode(source.removeprefix("data:image/png;base64,")).startswith(b"\x89PNG")
        assert len(words) > 60


def test_a_figure_that_cannot_be_drawn_says_why():
    def draw():
        raise BadInput("plot_ranks: <chains> are not known")

    text = figures._figure(figures.Picture("Ranks.", "Ranks of the draws.", draw))
    assert text == (
        '<figure><p class="hint">Not drawn: plot_ranks: &lt;chains&gt; are not known</p>'
        "<figcaption>Ranks.</figcaption></figure>"
    )


# ------------------------------------------------------------------------------------- the command line


@pytest.fixture
def folder(fit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_posterior(fit, tmp_path / "p.nc")
    monkeypatch.setattr(figures, "figures", lambda *_: "")
    return tmp_path


def test_the_command_writes_one_file_and_says_where(folder, monkeypatch, capsys):
    code, out, err = run(monkeypatch, capsys, "report", "--posterior", "p.nc", "-o", "r.html", "--json")
    assert (code, err) == (0, "")
    result = json.loads(out)
    assert list(result) == ["output", "bytes", "example", "posterior"]
    assert result["output"] == "r.html"
    assert result["bytes"] == (folder / "r.html").stat().st_size
    assert result["posterior"]["path"] == "p.nc"
    assert result["example"]["inputs"]["params_nonembedding"] == 1e10
    code, out, _ = run(monkeypatch, capsys, "report", "--posterior", "p.nc")
    assert code == 0
    assert out.startswith("report written to report.html (")
    assert {path.name for path in folder.iterdir()} == {"p.nc", "r.html", "report.html"}


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (["--posterior", "gone.nc"], "gone.nc: no such file; expected a posterior; fit one"),
        (["--posterior", "text.nc"], "text.nc: cannot be read as netCDF4"),
        (["-o", "no/r.html"], "no/r.html: cannot be written, no is no folder; create it or choose another"),
        (["-o", "r.pdf"], "r.pdf: unknown suffix '.pdf'; expected a page in .html; rename it"),
        (["--runs", "none.csv"], "none.csv: does not exist; expected a run table"),
    ],
)
def test_the_command_refuses_in_one_message(folder, monkeypatch, capsys, extra, words):
    (folder / "text.nc").write_text("no posterior")
    code, out, err = run(monkeypatch, capsys, "report", "--posterior", "p.nc", *extra)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {words}")
    assert err.count("\n") == 1
    assert {path.name for path in folder.iterdir()} == {"p.nc", "text.nc"}


# ------------------------------------------------------------------------------------ without a browser

PEOPLE_WRITE = [
    ("7e9", 7e9),
    ("7B", 7e9),
    (" 1.4t ", 1.4e12),
    ("65k", 65e3),
    ("7,000,000", 7e6),
    ("1.5e3M", 1.5e9),
]
PEOPLE_WRITE += [
    (text, None) for text in ("", "7x", "1,4e12", "-3", "seven", "1e", "NaN", "Infinity", "0x10")
]
CURVE = """async ([target, level]) => {
  const group = await group_of(target.study, target.optimizer);
  return curve_of(group, target, predict(group, target, level));
}"""
SIZE = "text => { const x = parsed(text); return x > 0 ? x : null }"


def agree(shown, wanted):
    """An answer of the page is that of ``predict``, to the digits that packing leaves."""
    found = numbers(shown)
    for place, value in numbers(
        {k: v for k, v in wanted.items() if k not in ("posterior", "assumes")}
    ).items():
        assert found[place] == pytest.approx(value, rel=5e-4, abs=1e-12), place
    assert shown["warnings"] == wanted["warnings"]
    assert list(shown["recommendation"]) == list(wanted["recommendation"])


def wanted_of(fit):
    return {name: predict(fit, target, level) for name, (target, level) in TARGETS.items()}


def test_the_script_agrees_with_predict(page_file, fit):
    wanted = wanted_of(fit)
    calls = [(PREDICT, [each["inputs"], each["level"]]) for each in wanted.values()]
    for name, shown in zip(wanted, answers(page_file, calls), strict=True):
        agree(shown, wanted[name])
    assert any("is held at 4 times the largest" in text for each in wanted.values() for text in each.warnings)


def test_the_script_computes_every_part_of_the_law(tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "figures", lambda *_: "")
    everything = known_posterior(
        parts=PARTS, sizes=tuple((study, n) for study, _ in SIZES for n in (1e8, 1e9))
    )
    write_posterior(everything, tmp_path / "p.nc")
    fit = read_posterior(tmp_path / "p.nc")
    write_report(fit, tmp_path / "r.html")
    wanted = wanted_of(fit)
    calls = [(PREDICT, [each["inputs"], each["level"]]) for each in wanted.values()]
    for name, shown in zip(wanted, answers(tmp_path / "r.html", calls), strict=True):
        agree(shown, wanted[name])


@pytest.mark.parametrize("name", ["far", "fixed batch"])
def test_the_curve_is_the_loss_lost_at_other_learning_rates(page_file, fit, name):
    target, level = TARGETS[name]
    wanted = predict(fit, target, level)
    (shown,) = answers(page_file, [(CURVE, [wanted["inputs"], level])])
    advised = wanted["recommendation"]
    assert shown["rate"] == pytest.approx(advised["learning_rate"], rel=1e-4)
    log_rates = np.log(shown["rates"])[:, None]
    log_batch = np.log(advised["batch_tokens"])
    surface = surface_at(fit, target, independent=True)
    lost = [100 * np.median(np.expm1(lr_batch_excess(surface, x, log_batch, True))) for x in log_rates]
    assert np.array(shown["curve"])[:, 2] == pytest.approx(lost, rel=1e-3, abs=1e-6)


def test_words_are_those_of_python(page_file):
    values = [0.0, 512.0, 999.6, 214_663_680.0, 1e11, 9.996e8, 3.3333e-5, 0.00012345, 0.5, 7.0, 1.5e15]
    calls = [(f"values => values.map({name})", values) for name in ("short", "three_digits", "percent")]
    sizes, digits, percents = answers(page_file, calls)
    assert sizes == [setting("batch_tokens", v) for v in values]
    assert digits == [setting("", v) for v in values]
    assert percents == [percent(v) for v in values]


def test_sizes_are_read_as_people_write_them(page_file):
    read = answers(page_file, [(SIZE, text) for text, _ in PEOPLE_WRITE])
    assert dict(zip([text for text, _ in PEOPLE_WRITE], read, strict=True)) == dict(PEOPLE_WRITE)


@pytest.mark.slow
def test_the_script_is_right_and_quick_on_the_shipped_posterior(tmp_path, monkeypatch):
    """An answer redraws the page at each key: it may evaluate so many functions per draw, and no more."""
    monkeypatch.setattr(figures, "figures", lambda *_: "")
    fit = read_posterior(POSTERIOR)
    written = write_report(fit, tmp_path / "r.html")
    assert written["bytes"] < 8e6
    targets = [Target(7e9, 1.4e12, "muon"), Target(214_663_680, 4e9, "adamw", "steplaw", 1e6)]
    targets.append(Target(1e8, 5e9, "adamw", "schaipp-slimpajama"))  # whose usual schedule is another
    wanted = [predict(fit, target) for target in targets]
    asked = [(PREDICT, [each["inputs"], 0.9]) for each in wanted]
    asked += [(OPERATIONS, [each["inputs"], 0.9]) for each in wanted[:2]]
    *shown, free, fixed = answers(tmp_path / "r.html", asked)
    for each, true in zip(shown, wanted, strict=True):
        agree(each, true)

    assert 10 < fixed < free < 2_000


# ------------------------------------------------------------------------------------ in a browser


@pytest.mark.parametrize("name", ["far", "fixed batch"])
def test_the_page_agrees_with_predict(page, fit, name):
    target, level = TARGETS[name]
    wanted = predict(fit, target, level)
    agree(page.evaluate(PREDICT, [wanted["inputs"], level]), wanted)


def test_a_link_carries_the_fields(browser, page_file):
    with opened(browser, page_file) as first:
        first.fill("#params", "3B")
        first.fill("#tokens", "60B")
        first.select_option("#study", "theirs")
        first.select_option("#optimizer", "muon")
        first.check("#fixed")
        first.fill("#batch", "1M")
        first.wait_for_selector("#link[href*='batch=1M'][href*='params=3B'][href*='muon']")
        link, told = first.evaluate("document.querySelector('#link').hash"), first.inner_text("#advice")
    with opened(browser, page_file) as second:
        second.evaluate("hash => { window.location.hash = hash; }", link)
        second.wait_for_selector("#asked:has-text('N = 3B')")
        assert second.inner_text("#asked") == "muon, N = 3B, D = 60B tokens, theirs"
        assert second.inner_text("#advice") == told
        second.evaluate(
            "() => { window.location.hash = '#params=1B&study=%3Cimg%20src=x%3E&optimizer=none'; }"
        )
        second.wait_for_selector("#asked:has-text('N = 1B')")
        assert second.input_value("#optimizer") == "muon"


def test_a_reader_needs_only_the_keyboard(browser, page_file, fit):
    with opened(browser, page_file) as page:
        page.focus("#params")
        for keys in ("3B", "Tab", "Tab", "60B", "Tab", "ArrowRight", "Tab", "m", "Tab", "a", "Tab", "Space"):
            if keys in ("3B", "60B"):
                page.keyboard.press("ControlOrMeta+a")
                page.keyboard.type(keys)
            else:
                page.keyboard.press(keys)
        page.keyboard.press("Tab")
        page.keyboard.press("ControlOrMeta+a")
        page.keyboard.type("2M")
        tokens = page.evaluate("parsed(document.getElementById('tokens').value)")
        assert tokens > 6e10
        wanted = predict(fit, Target(3e9, tokens, "muon", None, 2e6))
        page.wait_for_function(
            "text => document.getElementById('spoken').textContent.includes(text)", arg="2M"
        )
        shown = page.inner_text("#advice")
        for name, value in wanted["recommendation"].items():
            assert setting(name, value) in shown
        assert percent(wanted["regret"]["expected"]) == page.inner_text("#regret")
        assert percent(wanted["regret"]["upper"]) == page.inner_text("#regret-upper")
        assert page.locator("#doubts li").all_inner_texts() == wanted["warnings"]
        assert page.inner_text("#command").split()[2:4] == ["--params", "3e9"]
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid"


def told(page, place):
    """Text of an element that is about to be filled."""
    page.wait_for_selector(f"{place}:not(:empty)")
    return page.inner_text(place)


def test_misuse_is_told_beside_the_field(browser, page_file):
    with opened(browser, page_file) as page:
        page.fill("#params", "7x")
        assert told(page, "#params-error") == 'N = "7x": expected a number above 0; give it as 7e9 or 7B.'
        assert page.get_attribute("#params", "aria-invalid") == "true"
        assert page.get_attribute("#answer", "class") == "stale"
        page.fill("#params", "7B")
        page.check("#fixed")
        page.fill("#batch", "900T")
        assert told(page, "#batch-error") == "batch = 900T exceeds D = 200B tokens; lower the batch."
        page.fill("#level", "100")
        assert told(page, "#level-error") == "Expected a percentage between 0 and 100; give 90."
        page.fill("#level", "50")
        page.uncheck("#fixed")
        page.wait_for_selector("#answer:not(.stale)")
        page.fill("#params", "1e300")
        assert told(page, "#problem").startswith("The posterior says nothing this far out")
        for word in ("NaN", "Infinity", "undefined"):
            assert word not in page.inner_text("main")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits_the_screen_and_can_be_read(browser, page_file, scheme, width):
    size = {"width": width, "height": 844}
    with opened(browser, page_file, color_scheme=scheme, viewport=size) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        for ink in ("--ink", "--quiet", "--accent", "--advice", "--bad", "--good"):
            for paper in ("--paper", "--panel"):
                assert page.evaluate(CONTRAST, [ink, paper]) >= 4.5, (ink, paper)


def test_without_javascript_the_example_stands(browser, page_file, fit):
    with opened(browser, page_file, java_script_enabled=False) as page:
        assert "JavaScript is off" in page.inner_text("noscript")
        assert not page.is_visible("#ask")
        wanted = predict(fit, example_target(fit))["recommendation"]
        for name, value in wanted.items():
            assert setting(name, value) in page.inner_text("#advice")
