from __future__ import annotations

import json
import logging

import pandas as pd
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bayeslaw.errors import BadInput
from bayeslaw.runs.io import read_runs, write_runs
from bayeslaw.runs.schema import validate

SUFFIXES = [".csv", ".parquet", ".jsonl"]
POSITIVE = st.floats(1e-9, 1e15, allow_nan=False)
WORDS = st.text("abcxyz09-_. é,\"'", min_size=1, max_size=8).filter(lambda text: text == text.strip())
IDS = WORDS.filter(lambda text: text.lower() not in ("na", "nan", "null", "none"))


@st.composite
def tables(draw: st.DrawFn) -> pd.DataFrame:
    """Valid run tables with awkward names, counts that are not whole, and holes."""
    ids = draw(st.lists(IDS, min_size=1, max_size=4, unique=True))
    rows = []
    for run_id in ids:
        loss = draw(st.none() | st.floats(0.1, 20))
        batch = draw(POSITIVE)
        rows.append(
            {
                "run_id": run_id,
                "study": "007",
                "optimizer": draw(st.sampled_from(["adamw", "muon"])),
                "params_nonembedding": draw(st.integers(1, 10**15) | POSITIVE),
                "tokens": batch * draw(st.floats(1, 100)),
                "batch_tokens": batch,
                "learning_rate": draw(POSITIVE),
                "epsilon": draw(st.none() | POSITIVE),
                "loss": loss,
                "status": "crashed" if loss is None else "finished",
                "mystery": draw(st.floats(-10, 10)),
            }
        )
    return validate(pd.DataFrame(rows), "drawn")


@pytest.mark.parametrize("suffix", SUFFIXES)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(table=tables())
def test_a_written_table_reads_back_exactly(tmp_path, suffix, table):
    path = tmp_path / f"runs{suffix}"
    write_runs(table, path)
    pd.testing.assert_frame_equal(read_runs(path), table)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_counts_are_write_atomically(tmp_path, runs):
    write_runs(runs, tmp_path / "runs.csv")
    assert (tmp_path / "runs.csv").read_text().splitlines()[1] == (
        "a,ours,adamw,1000000,20000000,4096,128,0.001,3.0,finished"
    )


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_unknown_columns_of_mixed_types_survive(tmp_path, runs, suffix):
    path = tmp_path / f"runs{suffix}"
    write_runs(runs.assign(note=[1, "two", None, [3]]), path)
    assert read_runs(path)["note"].dropna().astype(str).tolist() == ["1", "two", "[3]"]


def test_an_invalid_table_leaves_the_old_file_alone(tmp_path, runs):
    path = tmp_path / "runs.csv"
    write_runs(runs, path)
    before = path.read_bytes()
    with pytest.raises(BadInput):
        write_runs(runs.assign(tokens=-1), path)
    assert path.read_bytes() == before


def test_a_failed_write_leaves_the_old_file_alone(tmp_path, runs, monkeypatch):
    path = tmp_path / "runs.csv"
    write_runs(runs, path)
    before = path.read_bytes()

    def full_disk(self: pd.DataFrame, target: object, **_: object) -> None:
        with open(str(target), "w") as file:
            file.write("half a tab")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_csv", full_disk)
    with pytest.raises(
        BadInput, match=r"cannot be written \(No space left on device\); choose another place"
    ):
        write_runs(runs.iloc[:1], path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["runs.csv"]


def test_files_are_joined_and_each_run_kept_once_at_its_fullest(tmp_path, runs, caplog):
    write_runs(runs.iloc[:3], tmp_path / "a.csv")
    write_runs(runs.iloc[1:].assign(width=[512, None, None]), tmp_path / "b.parquet")
    with caplog.at_level(logging.WARNING, "bayeslaw"):
        joined = read_runs(tmp_path / "a.csv", tmp_path / "b.parquet")
    assert joined["run_id"].tolist() == ["a", "b", "c", "d"]
    assert joined["width"].tolist()[1] == 512
    assert caplog.messages == ["runs in more than one file, each kept once: 2"]


def test_one_id_with_two_results_is_an_error(tmp_path, runs):
    first, second = tmp_path / "a.csv", tmp_path / "b.csv"
    write_runs(runs, first)
    write_runs(runs.assign(loss=[3.0, 3.5, 2.9, None]), second)
    with pytest.raises(BadInput) as caught:
        read_runs(first, second)
    assert str(caught.value) == (
        f"run b in {first} and {second}: loss = 3.1 and 3.5; expected one result a run; "
        "rename one run_id or leave one file out"
    )


def test_copies_within_a_file_are_dropped_and_row_numbers_stay_the_files(tmp_path, runs, caplog):
    path = tmp_path / "runs.csv"
    pd.concat([runs, runs.iloc[[0]]]).to_csv(path, index=False)
    assert len(read_runs(path)) == 4
    assert caplog.messages == [f"{path}: dropped exact copies of earlier rows: 1"]
    bad = runs.iloc[[1]].assign(run_id="z", tokens=-1)
    pd.concat([runs, runs.iloc[[0]], bad]).to_csv(path, index=False)
    with pytest.raises(BadInput, match=r"row 6 \(run z\): tokens = -1"):
        read_runs(path)


def error_of(path: object) -> str:
    with pytest.raises(BadInput) as caught:
        read_runs(path)  # type: ignore[arg-type]
    return str(caught.value)


def test_a_missing_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert error_of("runs.csv") == (
        f"runs.csv: does not exist; expected a run table; check the path (now in {tmp_path})"
    )


def test_an_unknown_suffix():
    assert error_of("runs.xlsx") == (
        "runs.xlsx: unknown suffix '.xlsx'; expected one of .csv, .parquet, .jsonl; rename or convert it"
    )


def test_a_truncated_parquet_file(tmp_path, runs):
    path = tmp_path / "runs.parquet"
    write_runs(runs, path)
    path.write_bytes(path.read_bytes()[:-40])
    text = error_of(path)
    assert text.startswith(f"{path}: not a readable .parquet file (")
    assert text.endswith("expected a complete table; was it cut short? write or download it again")
    assert "\n" not in text


def test_a_truncated_jsonl_file(tmp_path, runs):
    path = tmp_path / "runs.jsonl"
    write_runs(runs, path)
    path.write_text(path.read_text()[:-30])
    assert error_of(path).startswith(f"{path}: line 4 is not JSON (")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.csv", b""),
        ("zip.csv", b"PK\x03\x04\xff\xfe\x00"),
        ("bytes.jsonl", b"\xff\xfe{}"),
        ("0.parquet", b""),
    ],
)
def test_damaged_files(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert str(tmp_path / name) in error_of(tmp_path / name)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_columns_without_end_are_refused(tmp_path, suffix):
    path = tmp_path / f"wide{suffix}"
    row = {f"c{i}": 1 for i in range(20_000)}
    if suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.table({name: [value] for name, value in row.items()}), path)
    else:
        path.write_text(json.dumps(row) if suffix == ".jsonl" else ",".join(row))
    assert error_of(path) == (
        f"{path}: 20,000 columns; expected at most 10,000: one run a row, one setting or result a column; "
        "is it transposed? keep the columns that describe the runs"
    )


def test_texts_without_end_are_refused(tmp_path, runs):
    path = tmp_path / "long.csv"
    runs.assign(history=["", "x" * 2_000_000, "", ""]).to_csv(path, index=False)
    assert error_of(path) == (
        f"{path}: row 2: history has 2,000,000 letters; expected at most 1,000,000; drop the column"
    )
    path.write_text("x" * 2_000_000 + "\n1\n")
    assert error_of(path) == (
        f"{path}: the first line has more than 1,000,000 letters; expected the names of columns; "
        "keep the columns that describe the runs"
    )


def test_a_csv_that_is_no_text(tmp_path):
    path = tmp_path / "wide.csv"
    path.write_bytes("run_id,study\na,b\n".encode("utf-16-le"))
    assert error_of(path) == (
        f"{path}: is no text; expected CSV in UTF-8 or UTF-16 with its mark; export it again"
    )


def test_no_file_at_all():
    with pytest.raises(BadInput, match="no run table given"):
        read_runs()


def test_a_folder_that_does_not_exist(tmp_path, runs):
    path = tmp_path / "nowhere" / "runs.csv"
    with pytest.raises(BadInput) as caught:
        write_runs(runs, path)
    assert str(caught.value) == (
        f"{path}: cannot be written, {path.parent} is no folder; create it or choose another"
    )


def test_the_two_step_law_tables_join_without_their_overlap(shared_data, tmp_path):
    from bayeslaw.runs.importing import import_runs

    dense, _ = import_runs(shared_data / "steplaw_dense.csv", adapter="steplaw")
    scale, _ = import_runs(shared_data / "scalebench_lr_bsz_train.parquet", adapter="scalebench")
    write_runs(dense, tmp_path / "dense.parquet")
    write_runs(scale, tmp_path / "scale.parquet")
    both = read_runs(tmp_path / "scale.parquet", tmp_path / "dense.parquet")
    assert (len(dense), len(scale), len(both)) == (1911, 2702, 2883)
    assert both["width"].notna().sum() == 1911


def test_names_are_no_formulas_in_a_spreadsheet(tmp_path):
    names = ["=cmd|' /C calc'!A0", "@SUM(1)", "-ours", "plain"]
    run = {"study": "ours", "optimizer": "adamw", "params_nonembedding": 1e6, "tokens": 1e7}
    run |= {"batch_tokens": 1e4, "learning_rate": 1e-3, "loss": 3.0, "status": "finished"}
    table = pd.DataFrame([{"run_id": name} | run for name in names])
    write_runs(table, tmp_path / "runs.csv")
    text = (tmp_path / "runs.csv").read_text()
    assert all(f"'{name}" in text for name in names[:3])
    assert read_runs(tmp_path / "runs.csv")["run_id"].tolist() == names
