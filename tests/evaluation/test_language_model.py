"""A language model as an advisor: what it is told, what its answers come to, and what its advice costs."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bayeslaw.errors import BadInput
from bayeslaw.evaluation.heldout import evaluate, judged_targets
from bayeslaw.evaluation.language_model import ask_settings, bounds, considered, question
from bayeslaw.evaluation.scores import Advisor
from bayeslaw.target import Target
from tests.support.sweeps import grid_cell

SIZES = {1e8: (2e-3, 1e5), 2e8: (1.5e-3, 1.5e5)}
TARGET = Target(4e8, 8e9, "adamw", "made up")


@pytest.fixture(scope="module")
def sweep():
    """Two cells at 20 tokens per parameter, with a diverged run."""
    cells = [grid_cell(n, 20 * n, best, 2.5, rates=7, batches=7) for n, best in SIZES.items()]
    lost = cells[0].iloc[:1].assign(status="diverged", loss=np.nan, learning_rate=0.3, run_id="lost")
    return pd.concat([*cells, lost], ignore_index=True).assign(schedule="cosine")


def held_out(**columns):
    return grid_cell(4e8, 8e9, (1e-3, 2e5), 2.2, **columns)


def saying(*answers):
    """A model that says these one after the other, and the conversations it has had."""
    heard = []

    def ask(messages):
        heard.append(list(messages))
        answer = answers[min(len(heard), len(answers)) - 1]
        return answer if isinstance(answer, str) else json.dumps(answer)

    return ask, heard


def test_a_good_answer_is_scored_like_any_advice(sweep):
    targets = judged_targets(held_out())
    ask, heard = saying({"learning_rate": 1e-3, "batch_tokens": 2e5})
    advisor = ask_settings(ask, "m", sweep, targets)
    assert isinstance(advisor, Advisor)
    result = evaluate(advisor, held_out())
    assert result.advisor == "language model m"
    assert result.summary.regret_max == pytest.approx(0, abs=1e-4)
    assert len(heard) == len(targets) == 1


def test_it_is_told_the_sweep_and_nothing_of_what_judges_it(sweep):
    text = question(sweep, TARGET, 4)
    assert "A sweep of 99 runs with adamw tried learning_rate" in text
    assert "schedule cosine" in text
    assert "1 runs diverged, at learning_rate 0.3 to 0.3" in text
    assert "1e+08,2e+09,0.002,1e+05,2.5" in text  # the best run of a cell
    assert "4e+08 parameters (without embeddings) and 8e+09 tokens" in text
    assert len(text) < 3000


def test_a_fixed_batch_is_kept_and_not_asked_for(sweep):
    target = Target(4e8, 8e9, "adamw", "made up", 65536.0)
    assert "Its batch is 65536 tokens" in question(sweep, target)
    ask, _ = saying({"learning_rate": 1e-3, "batch_tokens": 7})
    assert ask_settings(ask, "m", sweep, [target]).recommend(target) == {
        "learning_rate": 1e-3,
        "batch_tokens": 65536.0,
    }


def test_it_may_look_at_runs_before_it_answers(sweep):
    look = {"look": {"params_nonembedding": 9e7, "tokens": "2e9", "learning_rate": 2e-3, "batch_tokens": 1e5}}
    ask, heard = saying(look, {"look": {"learning_rate": 0.5}}, {"learning_rate": 1e-3, "batch_tokens": 2e5})
    advisor = ask_settings(ask, "m", sweep, [TARGET], questions=3)
    assert advisor.recommend(TARGET) == {"learning_rate": 1e-3, "batch_tokens": 2e5}
    told = [conversation[-1]["content"] for conversation in heard]
    assert told[1] == (
        "The nearest run: params_nonembedding 1e+08, tokens 2e+09, learning_rate 0.002, batch_tokens 1e+05: "
        "loss 2.5. You have 2 answers left."
    )
    assert told[2].endswith("batch_tokens 3.536e+04: diverged. This is your last answer: give settings.")
    assert [message["role"] for message in heard[2]] == ["system", *["user", "assistant"] * 2, "user"]


def test_settings_out_of_bounds_are_sent_back_and_in_the_end_bounded(sweep):
    wild = {"learning_rate": 1e6, "batch_tokens": 1e15}
    ask, heard = saying(wild)
    advice = ask_settings(ask, "m", sweep, [TARGET], questions=2).recommend(TARGET)
    limits = bounds(sweep, TARGET)
    assert advice == {name: high for name, (_, high) in limits.items()}
    assert advice["batch_tokens"] <= TARGET.tokens
    assert "learning_rate 1e+06 lies outside" in heard[1][-1]["content"]
    ask, _ = saying(wild, {"learning_rate": 2e-3, "batch_tokens": 1e5})
    assert ask_settings(ask, "m", sweep, [TARGET]).recommend(TARGET)["learning_rate"] == 2e-3


def test_nonsense_ends_with_the_budget_and_one_clear_error(sweep):
    ask, heard = saying("as a language model, I", '{"learning_rate": "fast"}', "")
    with pytest.raises(BadInput) as caught:
        ask_settings(ask, "m", sweep, [TARGET, Target(8e8, 16e9)], questions=3)
    assert str(caught.value) == (
        "--model m: no usable settings for any of 2 runs in 3 answers each; expected JSON with a learning "
        "rate and a batch; read the record, and try another model"
    )
    assert len(heard) == 6


def test_a_cell_without_an_answer_is_not_scored_and_says_so(sweep):
    other = grid_cell(8e8, 16e9, (1e-3, 2e5), 2.1)
    both = pd.concat([held_out(), other], ignore_index=True)
    ask, _ = saying("?", {"learning_rate": 1e-3, "batch_tokens": 2e5})
    result = evaluate(ask_settings(ask, "m", sweep, judged_targets(both), questions=1), both)
    assert result.summary.cells_scored == 1
    assert result.cells[0].note.startswith("no advice: language model m: no usable settings")


@pytest.mark.parametrize("questions", [0, 101])
def test_a_budget_out_of_range_is_refused(sweep, questions):
    with pytest.raises(BadInput, match=f"--questions = {questions}; expected a whole number from 1 to 100"):
        ask_settings(saying("")[0], "m", sweep, [TARGET], questions)


def test_a_sweep_without_a_finished_run_is_refused(sweep):
    with pytest.raises(BadInput, match="none of 1 runs finished with a loss"):
        ask_settings(saying("")[0], "m", sweep[sweep["status"] == "diverged"], [TARGET])


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
OBJECTS = st.dictionaries(
    st.sampled_from(["learning_rate", "batch_tokens", "look"]), VALUES | st.lists(VALUES)
)


@given(st.text(max_size=60) | OBJECTS.map(json.dumps) | OBJECTS.map(lambda each: json.dumps({"look": each})))
@settings(max_examples=60, deadline=None)
def test_whatever_it_answers_settings_are_within_the_bounds(sweep, answer):
    found, remark = considered(answer, sweep, TARGET)
    assert found or remark
    for name, (low, high) in bounds(sweep, TARGET).items():
        assert name not in found or low <= found[name] <= high


def test_deep_and_long_answers_are_read_in_time():
    sweep = grid_cell()
    for text in ("{" * 200_000, '{"a":' * 50_000, '{"learning_rate": ' + "9" * 5000 + "}"):
        assert considered(text, sweep, TARGET)[1]
