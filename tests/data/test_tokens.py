"""Tokens: exact, the same every time, made once, whole or absent."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

import bayeslaw.lab.data.tokens as module
from bayeslaw.errors import BadInput
from bayeslaw.lab.data.tokens import Corpus, cut, prepare

ROOT = Path(__file__).resolve().parents[2]
WORDS = "the ship sailed over a calm sea while seven gulls followed it towards the harbour".split()


def texts(count: int, seed: int = 0) -> list[str]:
    generator = np.random.default_rng(seed)
    return [" ".join(generator.choice(WORDS, size=generator.integers(5, 60))) + ".\n" for _ in range(count)]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder with both splits; the training text holds signs that tempt a tokenizer."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    tempting = [
        "<|endoftext|> is spelt out",
        "naïve 🙂 \u2028 日本語",
        "  two  spaces\t\n\n\nend ",
        "\x00\x01",
    ]
    for name, documents in (("train", [*tempting, *texts(60)]), ("validation", texts(6, seed=1))):
        (folder / f"{name}.jsonl").write_text(
            "".join(json.dumps({"text": text}) + "\n" for text in documents)
        )
    return folder


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def held(folder: Path, split: str) -> list[str]:
    return [json.loads(line)["text"] for line in (folder / f"{split}.jsonl").read_text().splitlines()]


def read_back(cache: Path, corpus: Corpus, tokens: np.ndarray) -> list[str]:
    """Documents from tokens, by the tokenizer kept beside them."""
    tokenizer = Tokenizer.from_file(str(cache / "corpora" / corpus.digest / "tokenizer.json"))
    ends = np.flatnonzero(tokens == corpus.vocabulary - 1)
    assert ends[-1] == len(tokens) - 1
    return [
        tokenizer.decode(part.tolist()) for part in np.split(tokens, ends + 1)[:-1] for part in [part[:-1]]
    ]


def forbid(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    def refused(*_: object) -> NoReturn:
        raise AssertionError("done again")

    for name in names:
        monkeypatch.setattr(module, name, refused)


def left_in(cache: Path) -> set[str]:
    return {path.name for path in (cache / "corpora").iterdir()} - {"lock"}


@pytest.mark.parametrize("vocabulary", [257, 300, 65_536])
def test_tokens_decode_to_the_very_documents(source, cache, vocabulary):
    corpus = prepare(str(source), vocabulary, cache)
    assert read_back(cache, corpus, corpus.train) == held(source, "train")
    assert read_back(cache, corpus, corpus.validation) == held(source, "validation")
    assert corpus.train.dtype == corpus.validation.dtype == np.uint16
    assert type(corpus.train) is np.ndarray
    assert not corpus.train.flags.writeable
    size = sum(len(text.encode()) for text in held(source, "train"))
    assert corpus.bytes_per_token == size / len(corpus.train)


def test_bytes_alone_give_a_token_a_byte_and_one_an_end(source, cache):
    corpus = prepare(str(source), 257, cache)
    documents = held(source, "validation")
    assert len(corpus.validation) == sum(len(text.encode()) + 1 for text in documents)


def test_a_larger_vocabulary_packs_closer(source, cache):
    assert (
        prepare(str(source), 400, cache).bytes_per_token
        > 2 * prepare(str(source), 257, cache).bytes_per_token
    )


def test_the_library_gives_identical_tokens_each_time(tmp_path):
    first, second = (prepare("stdlib", 400, tmp_path / name, train_bytes=600_000) for name in "ab")
    assert first.digest == second.digest
    np.testing.assert_array_equal(first.train, second.train)
    np.testing.assert_array_equal(first.validation, second.validation)


def test_a_second_call_reads_nothing_and_imports_nothing_heavy(source, cache, monkeypatch):
    first = prepare(str(source), 300, cache)
    forbid(monkeypatch, "split_documents", "_learnt", "_encode")
    second = prepare(str(source), 300, cache)
    np.testing.assert_array_equal(first.train, second.train)
    assert (second.digest, second.source) == (first.digest, str(source))
    script = (
        "import sys; from bayeslaw.lab.data.tokens import prepare; print(prepare(sys.argv[1], 300).digest);"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, str(source)], capture_output=True, text=True, check=True, cwd=ROOT,
        env={"BAYESLAW_CACHE": str(cache)},
    )  # fmt: skip
    digest, modules = result.stdout.splitlines()
    assert digest == first.digest
    assert {"datasets", "tokenizers", "filelock", "pandas"}.isdisjoint(modules.split())


def test_the_same_text_elsewhere_or_touched_is_not_encoded_again(source, cache, monkeypatch):
    first = prepare(str(source), 300, cache)
    forbid(monkeypatch, "_learnt", "_encode")
    moved = source.rename(source.with_name("moved"))
    (moved / "train.jsonl").touch()
    second = prepare(str(moved), 300, cache)
    assert (second.digest, second.source) == (first.digest, str(moved))


def test_changed_text_gives_other_tokens(source, cache):
    first = prepare(str(source), 300, cache)
    with open(source / "train.jsonl", "a") as file:
        file.write('{"text": "one more"}\n')
    second = prepare(str(source), 300, cache)
    assert second.digest != first.digest
    assert read_back(cache, second, second.train) == [*held(source, "train")]
    assert prepare(str(source), 301, cache).digest != second.digest


@pytest.mark.parametrize("stage", ["_learnt", "_encode", "split_documents", "write_atomically"])
def test_an_interruption_leaves_nothing_half_written(source, cache, monkeypatch, stage):
    def interrupted(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, stage, interrupted)
        with pytest.raises(KeyboardInterrupt):
            prepare(str(source), 300, cache)
    whole = left_in(cache)
    assert len(whole) == (stage == "write_atomically")  # the tokens are whole then, only not yet entered
    corpus = prepare(str(source), 300, cache)
    assert left_in(cache) >= {corpus.digest, *whole}
    assert read_back(cache, corpus, corpus.train) == held(source, "train")


def test_what_a_killed_process_left_is_cleared_away(source, cache):
    (cache / "corpora" / ".making-killed").mkdir(parents=True)
    corpus = prepare(str(source), 300, cache)
    assert {name for name in left_in(cache) if not name.endswith(".json")} == {corpus.digest}


@pytest.mark.parametrize("name", ["train.bin", "validation.bin", "corpus.json"])
def test_a_damaged_cache_is_made_anew(source, cache, name):
    first = prepare(str(source), 300, cache)
    expected = first.train.copy()
    path = cache / "corpora" / first.digest / name
    path.write_bytes(path.read_bytes()[:-2])
    second = prepare(str(source), 300, cache)
    assert second.digest == first.digest
    np.testing.assert_array_equal(second.train, expected)


def test_of_several_that_ask_at_once_one_works(source, cache, monkeypatch):
    works, results = [], []
    spool = module._spool

    def slow_spool(*arguments) -> str:
        works.append(1)
        time.sleep(0.2)
        return spool(*arguments)

    monkeypatch.setattr(module, "_spool", slow_spool)
    threads = [
        threading.Thread(target=lambda: results.append(prepare(str(source), 300, cache))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(works) == 1
    assert len({corpus.digest for corpus in results}) == 1
    assert len(results) == 3


def test_reading_stops_at_the_limit_and_says_so(source, cache, caplog):
    with caplog.at_level(logging.WARNING, logger="bayeslaw.lab.data.tokens"):
        corpus = prepare(str(source), 300, cache, train_bytes=2_000)
    documents = read_back(cache, corpus, corpus.train)
    assert documents == held(source, "train")[: len(documents)]
    size = sum(len(text.encode()) for text in documents)
    assert size - len(documents[-1].encode()) < 2_000 <= size
    assert caplog.messages == [f"corpus {source}: cut after {size:,} bytes of training text"]


def test_the_sample_for_the_bpe_is_bounded_and_spread(tmp_path, monkeypatch):
    spool = tmp_path / "train.spool"
    documents = ["early early"] * 50 + ["late late"] * 50
    spool.write_bytes(b"".join(len(text).to_bytes(8, "little") + text.encode() for text in documents))
    monkeypatch.setattr(module, "SAMPLE_BYTES", spool.stat().st_size // 10)
    tokens = module._learnt(300, spool).get_vocab()
    assert {"early", "late"} <= set(tokens)


PLAIN = st.text(st.sampled_from("ab1 .'\n\t é🙂\x1c\u3000"), max_size=60)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=PLAIN, length=st.integers(1, 12))
def test_pieces_make_up_the_text(text, length):
    parts = cut(text, length)
    assert "".join(parts) == text
    assert all(length <= len(part) <= 2 * length for part in parts[:-1])
    assert len(parts[-1]) <= 2 * length


def test_pieces_have_the_tokens_of_the_whole(source, cache):
    corpus = prepare(str(source), 300, cache)
    tokenizer = Tokenizer.from_file(str(cache / "corpora" / corpus.digest / "tokenizer.json"))

    @settings(max_examples=200, deadline=None)
    @example(["", "11111111", "11111111", "1111111 ", *[" 111111 "] * 4, ""], 33)
    @given(st.lists(PLAIN.filter(lambda text: len(text) < 9), min_size=1, max_size=30), st.integers(30, 60))
    def holds(parts, length):
        text = " and ".join(parts)  # a break within every 14 characters
        pieces = [token for piece in cut(text, length) for token in tokenizer.encode(piece).ids]
        assert pieces == tokenizer.encode(text).ids

    holds()


def message_of(*arguments) -> str:
    with pytest.raises(BadInput) as caught:
        prepare(*arguments)
    return str(caught.value)


def test_choices_out_of_range(source, cache):
    assert message_of(str(source), 65_537, cache) == (
        "vocabulary 65,537: expected 257 to 65,536 (tokens are kept as uint16)"
    )
    assert message_of(str(source), 256, cache).startswith("vocabulary 256: ")
    assert message_of(str(source), 300, cache, 0) == "train_bytes 0: expected 1 or more"
    assert message_of("stdlb", 300, cache).startswith("corpus 'stdlb': neither a known name")
    assert not cache.exists()


def test_corpora_without_enough_documents(tmp_path, cache):
    path = tmp_path / "a.jsonl"
    path.touch()
    assert message_of(str(path), 300, cache) == (
        f"corpus '{path}': holds no text; expected documents; choose another"
    )
    path.write_text('{"text": "only one"}\n')
    assert message_of(str(path), 300, cache) == (
        f"corpus '{path}': no document for validation (a hash sets one in 20 apart for validation); "
        "give more documents, or a folder with train.* and validation.*"
    )
    path.write_text('{"text": "good"}\n{"text": 3}\n')
    assert message_of(str(path), 300, cache).startswith(f"{path}, line 2: ")
    assert left_in(cache) == set()


def test_a_cache_that_cannot_be_written(source, tmp_path):
    (tmp_path / "file").touch()
    assert message_of(str(source), 300, tmp_path / "file") == (
        f"cache {tmp_path / 'file'}: cannot be written (Not a directory); free space there, "
        "or name another folder in BAYESLAW_CACHE"
    )
