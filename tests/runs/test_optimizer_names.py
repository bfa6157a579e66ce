from __future__ import annotations

import pytest

from bayeslaw.assets import POSTERIOR
from bayeslaw.posterior.netcdf import read_posterior
from bayeslaw.runs.optimizer_names import ALIASES, canonical


@pytest.mark.parametrize(
    ("spellings", "name"),
    [
        ("adamw AdamW torch.optim.AdamW adamw_torch_fused FusedAdam adamw-8bit optax.adamw", "adamw"),
        ("muon Muon MuonWithAuxAdam SingleDeviceMuonWithAuxAdam", "muon"),
        ("soap SOAP soape", "soape"),
        ("psgd PSGD-Kron kron", "kron"),
        ("adam-mini Adam_mini mini", "mini"),
        ("adam Adam torch.optim.Adam", "adam"),
        ("RMSprop torch.optim.RMSprop torch.optim.rmsprop.RMSprop", "rmsprop"),
    ],
)
def test_spellings_of_one_optimizer(spellings, name):
    assert {canonical(spelling) for spelling in spellings.split()} == {name}


def test_an_unknown_name_is_its_own_in_lower_case():
    assert canonical(" Our-Own ") == "our-own"
    assert canonical("ours.v2") == "ours.v2"


def test_a_name_that_is_known_stays():
    assert canonical("SOAP", known=["soap", "adamw"]) == "soap"


def test_no_spelling_belongs_to_two_and_every_name_stands_for_itself():
    spellings = [alias for aliases in ALIASES.values() for alias in aliases.split()]
    assert len(set(spellings)) == len(spellings)
    assert [canonical(name) for name in ALIASES] == list(ALIASES)
    assert {canonical(alias) for alias in spellings} == set(ALIASES)


def test_the_shipped_posterior_is_asked_by_its_own_names():
    optimizers = read_posterior(POSTERIOR).optimizers
    assert {canonical(name) for name in optimizers} == set(optimizers)
