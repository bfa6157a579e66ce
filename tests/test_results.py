"""What every result is: frozen, a mapping over its JSON, readable in a terminal and in a notebook."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import pytest

import bayeslaw
from bayeslaw.results import Result, Section


@dataclass(frozen=True, repr=False, eq=False)
class Answer(Result):
    number: int

    def to_json(self):
        return {"number": self.number, "kind": "answer"}

    def sections(self):
        return [
            Section("an <answer>", ("", "use"), [["batch", f"{self.number}"]], ["warning: small"]),
            Section("no table"),
        ]


def test_it_is_a_read_only_mapping_over_its_json():
    answer = Answer(42)
    assert (answer.number, answer["number"], "kind" in answer, list(answer)) == (
        *(42, 42, True),
        ["number", "kind"],
    )
    assert dict(answer) == answer == Answer(42) != Answer(43)
    with pytest.raises(dataclasses.FrozenInstanceError):
        answer.number = 1
    with pytest.raises(TypeError):
        answer["number"] = 1


def test_people_read_its_sections_in_a_terminal_and_in_a_notebook():
    lines = repr(Answer(42)).splitlines()
    assert lines[0] == "an <answer>"
    assert lines[-2:] == ["warning: small", "no table"]
    assert any(line.split() == ["batch", "42"] for line in lines)
    shown = Answer(42)._repr_html_()
    assert shown.startswith("<p><b>an &lt;answer&gt;</b></p><table>")
    assert "<td>42</td>" in shown
    assert shown.endswith("<p>warning: small</p><p><b>no table</b></p>")


@pytest.mark.parametrize("name", ["Prediction", "Evaluation", "Design", "Diagnosis"])
def test_the_four_results_are_such(name):
    kind = getattr(bayeslaw, name)
    assert issubclass(kind, Result)
    assert dataclasses.is_dataclass(kind)
    assert kind.__dataclass_params__.frozen
