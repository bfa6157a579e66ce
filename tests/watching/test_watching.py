"""`bayeslaw watch`: what it reads from a folder, what the page says, and whom the server answers."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import replace
from unittest.mock import patch

import pytest

from bayeslaw.errors import BadInput
from bayeslaw.law.simulation import simulate_runs
from bayeslaw.loop import rounds
from bayeslaw.runs.io import write_runs
from bayeslaw.watching.charts import Chart, svg
from bayeslaw.watching.page import body, posterior_of, whole
from bayeslaw.watching.server import serve
from bayeslaw.watching.state import curve, read_state, wait_for
from tests.support.command import run
from tests.support.fakes import fake_posterior
from tests.support.loops import surer, task_in
from tests.support.report_browser import chromium
from tests.support.watched import ODD, aged, running_sweep


def words(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def contents(folder) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_running_sweep_is_counted(tmp_path):
    state = read_state(running_sweep(tmp_path))
    assert state.progress.counts == {"finished": 7, "diverged": 1, "running": 2, "waiting": 1}
    assert (state.progress.planned, state.progress.ended) == (11, 8)
    # ended: 5 of work w and 3 of 4w in 800 s; left: 2 runs at 75% and one waiting, of 4w each, by two workers
    assert state.progress.seconds_left == pytest.approx((2 * 0.75 + 1) * 4 / (17 / 800) / 2)
    assert len(curve(state.runs[0])) == 19


def test_a_sweep_that_was_killed_is_quiet(tmp_path):
    folder = running_sweep(tmp_path)
    aged(folder, 7200)
    state = read_state(folder)
    assert state.progress.counts["quiet"] == 2
    assert state.progress.seconds_left is None
    said = words(body(state, None))
    assert "Last file written 2.0 h ago." in said
    assert "stopped, or killed; the same command goes on" in said


def test_what_is_half_written_is_passed_over(tmp_path):
    folder = running_sweep(tmp_path)
    (folder / "runs" / "n1-lr0.0002" / "record.json").write_text('{"run_id": "n1')
    (folder / "planned.json").write_text("[")
    assert read_state(folder).progress.counts == {"finished": 6, "diverged": 1, "running": 3}


def test_other_folders_are_refused(tmp_path, monkeypatch, capsys):
    with pytest.raises(BadInput, match="neither runs/ nor round-01/"):
        read_state(tmp_path)
    (tmp_path / "notes.txt").touch()
    for asked in ([str(tmp_path)], [str(tmp_path / "none"), "--json"]):
        code, _, err = run(monkeypatch, capsys, "watch", *asked)
        assert code == 2
        assert "expected the folder of a sweep or a loop" in err


def test_a_sweep_that_has_not_begun_is_waited_for(tmp_path):
    said, folder = [], tmp_path / "out" / "sweep"
    with patch("time.sleep") as sleep:
        stages = [folder.mkdir, (folder / "planned.json").touch, (folder / "runs").mkdir]
        sleep.side_effect = lambda _: stages.pop(0)()
        folder.parent.mkdir()
        wait_for(folder, said.append)
    assert stages == []
    assert said == [f"{folder}: no sweep or loop has begun there yet; waiting for it, Ctrl-C ends"]
    wait_for(folder, said.append)
    assert len(said) == 1


def test_a_wait_is_ended_by_ctrl_c(tmp_path, monkeypatch, capsys):
    with patch("time.sleep", side_effect=KeyboardInterrupt):
        code, out, err = run(monkeypatch, capsys, "watch", str(tmp_path / "none"))
    assert (code, out) == (0, "")
    assert err.endswith("waiting for it, Ctrl-C ends\n")


def test_the_command_prints_the_progress_once(tmp_path, monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, "watch", str(running_sweep(tmp_path)), "--json")
    told = json.loads(out)
    assert code == 0
    assert set(told) == {"folder", "planned", "ended", "counts", "seconds_left", "quiet_seconds"}
    assert (told["planned"], told["counts"]["running"]) == (11, 2)


def test_the_page_says_what_the_folder_says(tmp_path):
    fit = fake_posterior(40, groups=(("ours", "adamw"),))
    html = whole(read_state(running_sweep(tmp_path)), fit, "n1-lr0.0005")
    said = words(html)
    for text in (
        "8 of 11",
        "FLOP so far 8e+15",
        "energy so far, kWh 1.6",
        "running, 25%",
        "n1-lr0.0005: training loss",
    ):
        assert text in said, text
    assert "ours, adamw, N = 100M, D = 2B: best 3.0000 at 0.001" in said
    assert html.count('class="curve"') == 3, "the fit in two cells, and the curve of the run"
    assert html.count('class="dot"') == 7


def test_names_are_text(tmp_path):
    folder = running_sweep(tmp_path, ODD)
    state = read_state(folder)
    html = body(state, None, "../../../etc/passwd")
    assert ODD not in html
    assert "&lt;img src=x" in html
    assert 'id="curve"' not in html, "a run that is none of the folder's opens nothing"


def test_a_loop_shows_its_rounds_and_journal(tmp_path):
    rounds.run(replace(task_in(tmp_path), rounds=1), surer)
    state = read_state(tmp_path / "loop")
    assert len(state.runs) == 4
    assert state.posterior is not None
    html = body(state, posterior_of(state.posterior))
    said = words(html)
    assert "learning rate for adamw, N = 7B, D = 140B: median and 90% interval" in said
    assert html.count('class="bar"') == 2, "an interval after the round, of rate and batch"
    assert "Round 1: 4 runs for" in said
    assert "Came back : 4 of 4 runs (4 finished)" in said
    assert "<table>" in html.partition('class="journal"')[2]
    assert "runs that --runs gave" not in said


def test_a_loop_counts_the_runs_that_it_was_given(tmp_path):
    task = task_in(tmp_path)
    given = tmp_path / "given.csv"
    write_runs(simulate_runs(task.candidates.head(6).drop(columns="cost"), seed=1), given)
    rounds.run(replace(task, rounds=1, runs=(given,)), surer)
    state = read_state(task.folder)
    assert (len(state.runs), state.given) == (4, 6)
    assert "6 runs that --runs gave are in the fits, not shown here." in words(body(state, None))


def test_a_loop_s_report_is_linked_and_served(tmp_path):
    rounds.run(replace(task_in(tmp_path), rounds=1, policy="cheapest"), surer)
    folder = tmp_path / "loop"
    assert "/report.html" not in body(read_state(folder), None)
    with served(folder) as address:
        assert status_of(f"{address}/report.html") == 404
        (folder / "report.html").write_text("<p>the fit</p>")
        assert '<a href="/report.html">' in body(read_state(folder), None)
        with urllib.request.urlopen(f"{address}/report.html") as answer:
            assert answer.read() == b"<p>the fit</p>"
            assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert status_of(f"{address}/report.html", Host="evil.example") == 403


def test_a_chart_without_points_is_none():
    assert svg(Chart("x", "y"), "none") == ""
    assert "nan" not in svg(Chart("x", "y", [(1.0, 2.0, "a")], log_x=True), "one")


@contextmanager
def served(folder):
    server = serve(folder, port=0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def status_of(url: str, **headers: str) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_the_server_reads_only_and_answers_no_other_site(tmp_path):
    folder = running_sweep(tmp_path)
    before = contents(folder)
    with served(folder) as address:
        assert status_of(f"{address}/") == 200
        assert status_of(f"{address}/body?run=last") == 200
        assert status_of(f"{address}/runs/n1-lr0.0002/record.json") == 404
        assert status_of(f"{address}/%2e%2e/planned.json") == 404
        assert status_of(f"{address}/", Host="evil.example") == 403
        assert status_of(f"{address}/", Origin="http://evil.example") == 403
        posted = urllib.request.Request(address, b"x")
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(posted)
        refused.value.close()
        assert refused.value.code == 501
        with pytest.raises(BadInput, match="cannot listen"):
            serve(folder, port=int(address.rpartition(":")[2]))
    assert contents(folder) == before


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1600, "light")])
def test_the_page_updates_by_itself_and_fits_the_screen(tmp_path, width, scheme):
    folder = running_sweep(tmp_path, ODD)
    with chromium() as browser, served(folder) as address:
        page = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme).new_page()
        wrong: list[str] = []
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(address)
        assert "8 of 11" in page.inner_text("main")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.click("tbody a:text-is('n1-lr0.001')")
        page.wait_for_selector("#curve svg")
        share = folder / "runs" / "n2-lr0.002" / "share.txt"
        share.write_text("0.75\n")
        page.evaluate("refresh()")
        page.wait_for_selector("td:has-text('running, 75%')")
        assert page.query_selector("#curve svg")
        assert wrong == []
        page.context.close()
