from __future__ import annotations

import json

import pytest

from bayeslaw.errors import BadInput
from bayeslaw.hardware import DEVICES, cost, training_flops
from tests.support.command import run


def test_a_cost_is_flops_over_throughput():
    found = cost(training_flops(7e9, 1.4e11), "h100", price=2.5)
    assert found["flops"] == pytest.approx(5.88e21)
    assert found["device_hours"] == pytest.approx(5.88e21 / (0.4 * 989e12) / 3600)
    assert found["energy_kwh"] == pytest.approx(0.7 * found["device_hours"])
    assert found["price"] == pytest.approx(2.5 * found["device_hours"])


def test_a_measured_throughput_comes_first():
    assert cost(3.6e18, "a100", 1e14)["device_hours"] == 10.0
    alone = cost(3.6e18, throughput=1e14)
    assert alone["device_hours"] == 10.0
    assert "energy_kwh" not in alone


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"device": "h900"}, "--device h900: unknown; expected one of v100"),
        ({"price": 2.0}, "of which device"),
        ({"device": "h100", "price": -1.0}, "at least 0"),
        ({"device": "h100", "throughput": 1e16}, "above the peak of h100"),
    ],
)
def test_what_costs_nothing_known_is_refused(asked, words):
    with pytest.raises(BadInput, match=words):
        cost(1e18, **asked)


def test_every_device_has_a_source():
    assert all(each.source and each.peak > 1e14 and each.watts >= 300 for each in DEVICES.values())


def test_predict_prints_the_bill(monkeypatch, capsys):
    asked = ["predict", "--params", "7B", "--tokens", "140B", "--device", "h100", "--price-per-hour", "2.5"]
    code, out, _ = run(monkeypatch, capsys, *asked)
    assert code == 0
    assert "5.88e+21 FLOP, 4.13k h100 hours" in out
    code, out, _ = run(monkeypatch, capsys, *asked, "--json")
    assert json.loads(out)["bill"]["price"] == pytest.approx(10322, rel=1e-3)
    assert run(monkeypatch, capsys, *asked[:-2], "--device", "abacus")[0] == 2


def test_the_version_is_the_package_s(monkeypatch, capsys):
    from importlib.metadata import version

    assert run(monkeypatch, capsys, "--version")[1].strip() == version("bayeslaw")
    assert "--install-completion" in run(monkeypatch, capsys, "--help")[1]
