"""The posterior's file: what goes in comes out, other programs read it, and damage is named."""

from __future__ import annotations

import gc
import resource
from contextlib import contextmanager
from dataclasses import replace

import h5py
import numpy as np
import pytest
import xarray as xr

from bayeslaw.errors import BadInput
from bayeslaw.posterior.netcdf import (
    FORMAT_VERSION,
    _content_sha256,
    _contents,
    read_posterior,
    rounded,
    write_posterior,
)
from tests.support.fakes import GROUPS, fake_posterior


@pytest.fixture
def path(tmp_path):
    write_posterior(fake_posterior(), tmp_path / "posterior.nc")
    return tmp_path / "posterior.nc"


@contextmanager
def no_room(size):
    """Files may not grow beyond some bytes, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def assert_close(kept, true):
    """Equal to about a thousandth of the standard deviation over draws, NaN where NaN."""
    spread = np.nan_to_num(np.std(true, axis=0))
    assert (np.isnan(kept) == np.isnan(true)).all()
    assert np.nanmax(np.abs(kept - true) - spread / 1000 - 1e-6 * np.abs(true)) <= 0


@pytest.mark.parametrize("size", [0, 4_000, 20_000])
def test_without_room_the_old_file_stays_and_nothing_else(path, size):
    """HDF5 that writes such a file itself ends the process when it is closed."""
    before = path.read_bytes()
    with (
        no_room(size),
        pytest.raises(BadInput, match=r"cannot be written \(File too large\); choose another"),
    ):
        write_posterior(fake_posterior(seed=1), path)
    gc.collect()
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_posterior_comes_back_as_it_was(path):
    true, kept = fake_posterior(), read_posterior(path)
    for part in ("group", "study", "common", "between_optimizers", "between_studies", "cell"):
        assert list(getattr(kept, part)) == list(getattr(true, part))
        for name, values in getattr(true, part).items():
            assert_close(getattr(kept, part)[name], values)
    exact = "group_prior study_prior groups studies optimizers cells pivot conventions provenance diagnostics"
    for name in exact.split():
        assert getattr(kept, name) == getattr(true, name), name


def test_sizes_come_back_too(tmp_path):
    true = fake_posterior()
    sizes = (("ours", 1e8), ("theirs", 1e8))
    effect = np.random.default_rng(1).standard_normal((true.draws, 2))
    write_posterior(replace(true, sizes=sizes, size={"level": effect, "slope": -effect}), tmp_path / "p.nc")
    kept = read_posterior(tmp_path / "p.nc")
    assert kept.sizes == sizes
    assert list(kept.size) == ["level", "slope"]
    assert_close(kept.size["level"], effect)
    assert_close(kept.size["slope"], -effect)


def test_what_was_tried_and_the_only_batch_come_back(tmp_path):
    told = {GROUPS[0]: 2e6}
    tried = {GROUPS[1]: {"learning_rate": (-3.0, 1.5), "batch_tokens": (-1.0, 1.0)}}
    write_posterior(replace(fake_posterior(), only_batch=told, tried=tried), tmp_path / "p.nc")
    kept = read_posterior(tmp_path / "p.nc")
    assert (kept.only_batch, kept.tried) == (told, tried)


def test_rounding_keeps_moments_and_tight_combinations():
    rng = np.random.default_rng(0)
    a = rng.standard_normal((4000, 1))
    b = -a + 0.01 * rng.standard_normal((4000, 1))  # a sum a hundred times tighter than its parts
    kept_a, kept_b = rounded(a).astype(float), rounded(b).astype(float)
    assert np.std(kept_a) == pytest.approx(np.std(a), rel=1e-5)
    assert np.std(kept_a + kept_b) == pytest.approx(np.std(a + b), rel=5e-3)


def test_xarray_reads_it_with_named_dimensions(path):
    with xr.open_dataset(path) as data:
        assert data["gamma"].dims == ("draw", "group")
        assert data["level"].dims == ("draw", "study")
        assert data["cell_lr"].dims == ("draw", "cell")
        assert list(data["group"].values) == [f"{study}/{optimizer}" for study, optimizer in GROUPS]
        assert list(data["group_optimizer"].values) == ["adamw", "muon", "adamw"]
        assert "cell_tokens" in data.coords
        true = fake_posterior()
        ours = data["gamma"].sel(group="ours/muon").values
        assert_close(ours, (true.group["gamma_path"] - true.group["delta"])[:, 1])
        spread = data["between_optimizers"].sel(group_parameter="alpha").values
        assert_close(spread, true.between_optimizers["alpha"])
        assert (
            float(data["group_prior"].sel(group_parameter="alpha", moment="sd"))
            == true.group_prior["alpha"][1]
        )


def test_a_file_that_xarray_wrote_again_is_still_a_posterior(path, tmp_path):
    with xr.open_dataset(path) as data:
        data.to_netcdf(tmp_path / "again.nc", engine="h5netcdf")
    again = read_posterior(tmp_path / "again.nc")
    assert again.groups == GROUPS
    assert_close(again.group["alpha"], read_posterior(path).group["alpha"])


def test_a_real_posterior_is_small(tmp_path):
    groups = tuple((s, o) for s in ("a", "b", "c") for o in ("adamw", "muon", "lion", "sgd"))
    sizes = tuple((10 ** (7 + i / 5), 10 ** (9 + i / 5)) for i in range(13))
    write_posterior(fake_posterior(1000, groups=groups, sizes=sizes), tmp_path / "p.nc")
    assert (tmp_path / "p.nc").stat().st_size < 2e6


def test_writing_leaves_nothing_else_behind(path):
    assert [file.name for file in path.parent.iterdir()] == ["posterior.nc"]


def message(path):
    with pytest.raises(BadInput) as caught:
        read_posterior(path)
    return str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    assert message(tmp_path / "p.nc") == (
        f"{tmp_path}/p.nc: no such file; expected a posterior; "
        "fit one with `bayeslaw fit RUNS -o posterior.nc`"
    )


@pytest.mark.parametrize("kept", [0, 100, 20_000])
def test_a_cut_file_is_refused(path, kept):
    path.write_bytes(path.read_bytes()[:kept])
    assert "cannot be read as netCDF4" in message(path)


def test_another_kind_of_file_is_refused(path):
    path.write_text("run_id,loss\n")
    assert "cannot be read as netCDF4" in message(path)


def test_a_flipped_byte_in_the_draws_is_noticed(path):
    with h5py.File(path) as file:
        start = file["gamma_path"].id.get_chunk_info(0).byte_offset
    data = bytearray(path.read_bytes())
    data[start + 100] ^= 0xFF
    path.write_bytes(data)
    assert "cannot be read as netCDF4" in message(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: f.attrs.__delitem__("format_version"), "has no format_version"),
        (
            lambda f: f.attrs.__setitem__("format_version", FORMAT_VERSION + 1),
            f"format_version = {FORMAT_VERSION + 1}; this bayeslaw reads 2 and {FORMAT_VERSION}; "
            "upgrade bayeslaw",
        ),
        (lambda f: f.attrs.__setitem__("format_version", 0), "fit it again with this version"),
        (lambda f: f.__delitem__("alpha"), "lacks the variable 'alpha'"),
        (lambda f: f.__delitem__("cell_study"), "lacks the variable 'cell_study'"),
        (lambda f: f["alpha"].__setitem__((3, 1), np.nan), "alpha holds 1 values that are not finite"),
        (lambda f: f["level"].__setitem__((3, 1), np.inf), "level holds 1 values that are not finite"),
        (lambda f: f["group_study"].__setitem__(0, "other"), "groups name 'other'"),
        (lambda f: f["provenance"].__setitem__((), "{"), "do not fit together"),
        (lambda f: f["diagnostics"].__setitem__((), "[1]"), "diagnostics is a list; expected a JSON object"),
        (
            lambda f: f["pivot"].__setitem__(slice(None), [0.0, 1e9]),
            "pivot holds N or D that are no numbers above 0",
        ),
        (lambda f: f["cell_params"].__setitem__(0, -1.0), "cells holds N or D that are no numbers above 0"),
    ],
)
def test_every_defect_is_named(path, change, words):
    with h5py.File(path, "r+") as file:
        del file.attrs["content_sha256"]  # as in files of old
        change(file)
    text = message(path)
    assert text.startswith(f"{path}: ")
    assert words in text


@pytest.mark.parametrize("name", ["alpha", "diagnostics", "group"])
def test_a_change_that_fits_is_told_by_the_checksum(path, name):
    with h5py.File(path, "r+") as file:
        value = file[name][()]
        file[name][...] = value + 1 if name == "alpha" else value[::-1] if name == "group" else "{}"
    assert message(path) == (
        f"{path}: its contents differ from its checksum: damaged, or edited; "
        "fit it again with `bayeslaw fit`, or take another copy of the file"
    )


def test_any_flipped_byte_is_noticed_or_harmless(path):
    whole, sound = path.read_bytes(), _content_sha256(_contents(path))
    for place in np.random.default_rng(0).integers(0, len(whole), 60):
        data = bytearray(whole)
        data[place] ^= 0xFF
        path.write_bytes(data)
        refused = False
        try:
            read_posterior(path)
        except BadInput:
            refused = True
        assert refused or _content_sha256(_contents(path)) == sound


def test_one_draw_is_refused(tmp_path):
    with pytest.raises(BadInput, match="1 draws; expected at least 2; fit it again"):
        write_posterior(fake_posterior(1), tmp_path / "p.nc")


def test_a_posterior_without_a_checksum_is_read(path):
    before = read_posterior(path)
    with h5py.File(path, "r+") as file:
        del file.attrs["content_sha256"]
    assert read_posterior(path).pivot == before.pivot


def test_variables_of_other_lengths_are_refused(path):
    with h5py.File(path, "r+") as file:
        del file.attrs["content_sha256"], file["bend"]
        file["bend"] = np.zeros(3)
    assert "has shape" in message(path)


@pytest.mark.parametrize("name", ["alpha", "gamma_path"])
def test_draws_that_are_not_finite_are_not_written(tmp_path, name):
    fit = fake_posterior()
    fit.group[name][5, 0] = np.nan
    with pytest.raises(BadInput, match=f"{name} holds 1 values that are not finite"):
        write_posterior(fit, tmp_path / "p.nc")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(BadInput, match="is no folder; create it"):
        write_posterior(fake_posterior(), tmp_path / "no" / "p.nc")


def test_a_name_longer_than_any_file_s_is_no_file():
    with pytest.raises(BadInput, match="no such file"):
        read_posterior("a" * 5000)
