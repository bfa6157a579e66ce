"""Examples of a task as sequences: what is read, what is predicted, what is set apart."""

from __future__ import annotations

import json

import numpy as np
import pytest
from datasets import Dataset

from bayeslaw.errors import BadInput
from bayeslaw.lab.data.order import available, batch, sequence_order, validation_batches
from bayeslaw.lab.data.tasks import TaskSequences, prepare

END = 299
ROWS = [
    {"text": f"{'good' if i % 3 else 'bad'} film {i}", "label": "pos" if i % 3 else "neg"} for i in range(200)
]


def encode(text: str) -> list[int]:
    return list(text.encode())


def written(folder, rows=ROWS, name="examples.jsonl"):
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder / name)


def made(source, columns="text,label", task="classify", length=16) -> TaskSequences:
    return prepare(source, columns, task, encode, END, length)


def test_a_class_is_one_token_after_the_text(tmp_path):
    found = made(written(tmp_path))
    assert found.classes == ("neg", "pos")
    assert found.train.shape[1] == 17
    assert len(found.train) + len(found.validation) == 200
    assert 0 < len(found.validation) < 30
    for row in found.train:
        (place,) = np.flatnonzero(row >= 0)
        text = bytes(-1 - token for token in row[: place - 1]).decode()
        assert -1 - row[place - 1] == END
        assert found.classes[row[place]] == ("pos" if text.startswith("good") else "neg")
        assert set(row[place + 1 :]) <= {-1 - END}


def test_what_is_written_ends_and_long_texts_lose_their_end(tmp_path):
    rows = [{"text": "x" * 30 + str(i), "label": "answer"} for i in range(100)]
    found = made(written(tmp_path, rows), task="write")
    assert found.classes == ()
    for row in found.train:
        assert row.tolist() == [-1 - ord("x")] * 9 + [-1 - END] + encode("answer") + [END]
    short = made(written(tmp_path, rows), task="write", length=8)
    assert short.train[0].tolist() == [-1 - ord("x")] * 4 + [-1 - END] + encode("ans") + [END]


def test_several_columns_make_a_text_and_folders_have_splits_of_their_own(tmp_path):
    written(tmp_path, [{"a": "one", "b": "two", "label": i % 2} for i in range(4)], "train.jsonl")
    written(tmp_path, [{"a": "one", "b": str(i), "label": 0} for i in range(3)], "validation.jsonl")
    found = made(str(tmp_path), "a+b,label")
    assert (len(found.train), len(found.validation), found.classes) == (4, 3, ("0", "1"))
    assert bytes(-1 - token for token in found.train[0][:7]) == b"one\ntwo"


def test_a_data_set_of_the_hub_has_the_splits_that_glue_names(monkeypatch):
    asked = []

    def load(name, config):
        asked.append((name, config))
        rows = {"train": ROWS[:100], "validation_matched": ROWS[100:110], "validation_mismatched": ROWS[110:]}
        return {split: Dataset.from_list(found) for split, found in rows.items()}

    monkeypatch.setattr("datasets.load_dataset", load)
    found = made("hub:nyu-mll/glue:mnli")
    assert asked == [("nyu-mll/glue", "mnli")]
    assert (len(found.train), len(found.validation)) == (100, 10)


def test_no_text_is_in_both_splits(tmp_path):
    written(tmp_path, ROWS[:50], "train.jsonl")
    written(tmp_path, ROWS[:10], "validation.jsonl")
    assert len(made(str(tmp_path)).train) == 40
    twice = made(written(tmp_path, ROWS * 2))
    assert not {row.tobytes() for row in twice.train} & {row.tobytes() for row in twice.validation}


def test_sequences_are_read_in_the_order_of_a_run(tmp_path):
    found = made(written(tmp_path))
    count = len(found.train)
    order = sequence_order(available(found.train, 16), 2 * count * 16, 16, seed=0, epochs=2)
    assert sorted(order) == sorted([*range(count)] * 2)
    read = batch(found.train, order, 3, 2, 16)
    assert read.tolist() == found.train[order[3:5]].tolist()
    assert read.dtype == np.int64
    assert validation_batches(found.validation, 16, 4).tolist() == [
        found.validation[i * len(found.validation) // 4].tolist() for i in range(4)
    ]


@pytest.mark.parametrize(
    ("columns", "task", "rows", "message"),
    [
        ("label", "classify", ROWS, "columns = label; expected TEXT,ANSWER; give them as text,label"),
        ("body,label", "classify", ROWS, "no body in an example (it has text, label); expected columns as "),
        (
            "text,text",
            "classify",
            [{"text": str(i)} for i in range(300)],
            " different answers; expected 2 to 256",
        ),
        ("text,label", "classify", ROWS[1:2] * 30, "0 set apart; expected some of both; give more examples"),
    ],
)
def test_what_is_no_task_is_named(columns, task, rows, message, tmp_path):
    with pytest.raises(BadInput) as caught:
        made(written(tmp_path, rows), columns, task)
    assert message in str(caught.value)


def test_a_broken_file_is_one_error(tmp_path):
    (tmp_path / "broken.jsonl").write_text('{"text": "a", "label": 1}\n{"text": \n')
    with pytest.raises(
        BadInput, match=r"broken\.jsonl': cannot be read .*; expected \.jsonl with one example"
    ):
        made(str(tmp_path / "broken.jsonl"))
