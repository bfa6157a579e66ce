"""Output that goes away, is full or cannot hold a character: no traceback, and a sensible exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bayeslaw.posterior.netcdf import write_posterior
from tests.support.fakes import fake_posterior

ROOT = Path(__file__).resolve().parents[2]
ASKED = "-m bayeslaw.cli predict --posterior p.nc --params 7e9 --tokens 1.4e11 --study größe".split()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("output")
    groups = (("größe", "adamw"),)
    write_posterior(fake_posterior(20, groups=groups, sizes=((1e8, 2e9),)), folder / "p.nc")
    return folder


def started(folder, *extra, **options):
    env = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"} | options.pop("env", {})
    command = [sys.executable, *ASKED, *extra]
    return subprocess.Popen(command, cwd=folder, env=env, stderr=subprocess.PIPE, **options)


@pytest.mark.parametrize("extra", [(), ("--json",)])
def test_a_reader_that_went_away_is_no_error(folder, extra):
    read, write = os.pipe()
    os.close(read)
    process = started(folder, *extra, stdout=write)
    os.close(write)
    assert (process.communicate()[1], process.returncode) == (b"", 1)


def test_a_reader_of_one_line_is_served(folder):
    process = started(folder, stdout=subprocess.PIPE)
    assert "größe" in process.stdout.readline().decode()
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() in (0, 1)
    process.stderr.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("extra", [(), ("--json",)])
def test_a_full_output_is_one_error(folder, extra):
    with open("/dev/full", "w") as full:
        process = started(folder, *extra, stdout=full)
        said = process.communicate()[1].decode()
    assert process.returncode == 2
    assert said == "error: stdout: cannot be written (No space left on device); send it elsewhere\n"


def test_ascii_holds_what_it_can(folder):
    env = {"PYTHONIOENCODING": "ascii"}
    process = started(folder, stdout=subprocess.PIPE, env=env)
    out, err = process.communicate()
    assert (process.returncode, err) == (0, b"")
    assert out.decode("ascii").startswith("adamw, N = 7B, D = 140B tokens, gr??e\n")
    out, _ = started(folder, "--json", stdout=subprocess.PIPE, env=env).communicate()
    assert json.loads(out.decode("ascii"))["inputs"]["study"] == "größe"
    process = started(folder, "--study", "größer", stdout=subprocess.PIPE, env=env)
    out, err = process.communicate()
    assert (process.returncode, out) == (2, b"")
    assert err.startswith(b"error: --study gr??er: not in p.nc")
