"""Documents: what is read from each kind of source, how it is split, and what is refused."""

from __future__ import annotations

import gzip
import json
import lzma
import socket
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

import pytest

from bayeslaw.errors import BadInput
from bayeslaw.lab.data.corpus import documents, known_source, local_files, split_documents

PACK = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress}
TRICKY = [
    "2020-01-01",
    "3",
    "null",
    "a\u2028b\x85c",
    "tab\tand\r\nline",
    '"quoted" \\ 🙂',
    " edges \n\n",
    "\ufeffmark",
]


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    """Nothing here may ask a server for anything, not even in vain."""

    def refused(*_: object, **__: object) -> NoReturn:
        raise AssertionError("asked the network")

    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(socket, "getaddrinfo", refused)


def json_lines(path: Path, texts: Iterable[object]) -> Path:
    data = "".join(json.dumps({"id": 1, "text": text}) + "\n" for text in texts).encode()
    path.write_bytes(PACK.get(path.suffix, bytes)(data))
    return path


def all_of(source: object) -> list[str]:
    return [text for _, text in split_documents(str(source))]


@pytest.mark.parametrize("packing", PACK)
def test_json_lines_read_back_exactly_packed_or_not(tmp_path, packing):
    path = json_lines(tmp_path / f"a.jsonl{packing}", TRICKY)
    assert all_of(path) == TRICKY


def test_blank_lines_and_empty_documents_are_skipped(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('\n{"text": "one"}\n  \n{"text": ""}\n{"text": "two"}')
    assert all_of(path) == ["one", "two"]


@pytest.mark.parametrize("packing", PACK)
def test_a_lone_text_file_has_its_paragraphs_as_documents(tmp_path, packing):
    path = tmp_path / f"a.txt{packing}"
    path.write_bytes(PACK[packing](b"\xef\xbb\xbfone\nmore\n\ntwo\r\n\r\nthree"))
    assert all_of(path) == ["one\nmore", "two", "three"]


def test_a_text_file_in_a_folder_is_one_document(tmp_path):
    (tmp_path / "b.txt").write_text("one\n\nmore\n")
    (tmp_path / "__a.txt.gz").write_bytes(gzip.compress(b"two"))
    (tmp_path / "empty.txt").touch()
    (tmp_path / "picture.png").write_bytes(b"\x89")
    json_lines(tmp_path / "c.jsonl", ["three"])
    assert all_of(tmp_path) == ["two", "one\n\nmore\n", "three"]


def test_signs_that_patterns_use_are_read_as_they_stand(tmp_path):
    folder = tmp_path / "wei[r]d *? dir"
    folder.mkdir()
    path = json_lines(folder / "a[0]*?.jsonl", ["one"])
    (tmp_path / "weird x dir").mkdir()
    assert all_of(path) == ["one"]


def test_the_hash_sets_one_in_twenty_apart_and_loses_nothing(tmp_path):
    texts = [f"document {i}" for i in range(2_000)]
    train, validation = map(list, documents(str(json_lines(tmp_path / "a.jsonl", texts))))
    assert sorted(train + validation) == sorted(texts)
    assert set(train).isdisjoint(validation)
    assert 70 <= len(validation) <= 130  # 100, standard deviation 10


def test_the_split_depends_on_the_text_alone(tmp_path):
    texts = [f"document {i}" for i in range(300)]
    _, validation = documents(str(json_lines(tmp_path / "a.jsonl", texts)))
    train_again, validation_again = documents(str(json_lines(tmp_path / "b.jsonl", texts[::-1] * 2)))
    apart = set(validation)
    assert set(validation_again) == apart
    assert apart.isdisjoint(train_again)


def test_a_folder_names_its_splits_and_a_copy_leaves_training(tmp_path):
    json_lines(tmp_path / "train.jsonl.gz", ["a", "b", "shared"])
    (tmp_path / "validation.txt").write_text("shared")
    (tmp_path / "notes.txt").write_text("not of the corpus")
    train, validation = map(list, documents(str(tmp_path)))
    assert (train, validation) == (["a", "b"], ["shared"])
    assert list(split_documents(str(tmp_path))) == [(True, "shared"), (False, "a"), (False, "b")]


def test_the_library_is_source_without_tests():
    files = local_files("stdlib").training
    assert files == sorted(files)
    names = {file.name for file in files}
    assert {"ast.py", "dataclasses.py", "__init__.py"} <= names
    assert not any({"test", "tests", "site-packages"} & set(file.parts) for file in files)
    first = next(iter(documents("stdlib")[0]))
    assert first == files[0].read_text(encoding="utf-8")


def test_the_check_reads_nothing_and_imports_nothing_heavy(tmp_path):
    script = (
        "import sys; from bayeslaw.lab.data.corpus import known_source as k; "
        "k('stdlib'); k('hub:a/b:c'); k(sys.argv[1]); "
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    path = tmp_path / "a.jsonl"
    path.write_text("broken")
    result = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert {"datasets", "tokenizers", "numpy", "pandas"}.isdisjoint(result.stdout.split())


EXPECTED = (
    '"stdlib", a path to .txt, .txt.gz, .txt.xz, .jsonl, .jsonl.gz, .jsonl.xz or a folder of them, '
    'or "hub:NAME[:CONFIG]"'
)


def message_of(source: object) -> str:
    with pytest.raises(BadInput) as caught:
        all_of(source)
    return str(caught.value)


def test_an_unknown_name_or_missing_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput) as caught:
        known_source("stdlb")
    assert str(caught.value) == (
        "corpus 'stdlb': neither a known name nor an existing path; "
        f"expected {EXPECTED}; check the spelling (now in {tmp_path})"
    )


def test_paths_that_hold_no_corpus(tmp_path):
    table = tmp_path / "a.csv"
    table.touch()
    assert message_of(table) == (
        f"corpus '{table}': not a file of a known kind; expected {EXPECTED}; rename or convert it"
    )
    assert message_of(tmp_path) == (
        f"corpus '{tmp_path}': no document in this folder; "
        "expected files .txt, .txt.gz, .txt.xz, .jsonl, .jsonl.gz, .jsonl.xz"
    )
    (tmp_path / "validation.txt").touch()
    assert message_of(tmp_path) == (
        f"corpus '{tmp_path}': has validation.* but no train.*; expected both or neither; add it"
    )
    (tmp_path / "a::b.txt").touch()
    assert message_of(tmp_path / "a::b.txt").startswith(f"corpus '{tmp_path}/a::b.txt': \"::\" in a path")
    assert message_of("hub:").startswith("corpus 'hub:': names no data set")


LINE = 'expected one object a line, such as {"text": "..."}; mend or remove the line'
STRING = "expected a string; mend or remove the document"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": "a"', f"broken JSON (Expecting ',' delimiter, column 13); {LINE}"),
        ('["text"]', f"a JSON list; {LINE}"),
        ('{"text": 3}', f'"text" is 3; {STRING}'),
        ('{"text": null}', f'"text" is None; {STRING}'),
        ('{"text": ["a"]}', f"\"text\" is ['a']; {STRING}"),
        ('{"text": "\\ud800"}', "half of a surrogate pair, which is no text; mend or remove it"),
        (
            '{"id": 1, "txt": "a"}',
            'no field "text" (fields: id, txt); expected the document there; rename the field that holds it',
        ),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, message):
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"text": "good"}}\n{line}\n{{"text": "good"}}\n')
    assert message_of(path) == f"{path}, line 2: {message}"


def test_packed_files_are_not_read_in_another_encoding(tmp_path, monkeypatch):
    monkeypatch.setattr("locale.getpreferredencoding", lambda _: "cp1252")
    assert all_of(json_lines(tmp_path / "a.jsonl", TRICKY)) == TRICKY
    path = json_lines(tmp_path / "a.jsonl.gz", TRICKY)
    assert message_of(path) == (
        f"{path}: `datasets` would unpack it in the locale's encoding (cp1252); set PYTHONUTF8=1"
    )


def test_damaged_files_are_named(tmp_path):
    latin = tmp_path / "latin.txt"
    latin.write_bytes("é\n".encode("latin-1"))
    assert message_of(latin) == (
        f"{latin}: not UTF-8 text (invalid continuation byte); convert the file to UTF-8"
    )
    noise = json_lines(tmp_path / "a.jsonl", [f"{i * 7919 % 1013}" for i in range(5_000)]).read_bytes()
    for packing in (".gz", ".xz"):
        path = tmp_path / f"cut.jsonl{packing}"
        path.write_bytes(PACK[packing](noise)[:-50])
        assert message_of(path) == (
            f"{path}: cannot be read (Compressed file ended before the end-of-stream marker was reached); "
            "check its permissions, or fetch it again"
        )
        path.write_bytes(b"not packed at all")
        assert message_of(path).startswith(f"{path}: cannot be read (")


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    """A data set as the hub keeps it, with two configurations."""
    small, bare = tmp_path / "small", tmp_path / "bare"
    for folder in (small, bare):
        folder.mkdir()
    json_lines(small / "train.jsonl", ["a", "b", "shared"])
    json_lines(small / "validation.jsonl", ["shared"])
    json_lines(bare / "train.jsonl", [f"document {i}" for i in range(100)])
    (tmp_path / "README.md").write_text(
        "---\nconfigs:\n- config_name: small\n  data_dir: small\n- config_name: bare\n  data_dir: bare\n---\n"
    )
    return tmp_path


def test_a_hub_data_set_streams_by_name_and_configuration(hub):
    train, validation = map(list, documents(f"hub:{hub}:small"))
    assert (train, validation) == (["a", "b"], ["shared"])
    train, validation = map(list, documents(f"hub:{hub}:bare"))
    assert len(train) + len(validation) == 100
    assert 0 < len(validation) < 20


def test_hub_data_sets_that_cannot_be_used(hub):
    assert message_of("hub:nobody/nothing") == (
        "corpus 'hub:nobody/nothing': cannot be opened "
        "(Couldn't reach 'nobody/nothing' on the Hub (OfflineModeIsEnabled)); "
        "expected hub:NAME or hub:NAME:CONFIG of a hub data set; check the name and the network"
    )
    assert "Config name is missing" in message_of(f"hub:{hub}")
    assert message_of(f"hub:{hub}:none").startswith(f"corpus 'hub:{hub}:none': cannot be opened (")


def test_hub_documents_that_cannot_be_used(tmp_path):
    path = tmp_path / "train.jsonl"
    source = f"hub:{tmp_path}"
    path.write_text('{"content": "a"}\n')
    assert message_of(source).startswith(
        f"corpus '{source}', document 1: no field \"text\" (fields: content); "
    )
    path.write_text('{"text": 1}\n')
    assert message_of(source) == f"corpus '{source}', document 1: \"text\" is 1; {STRING}"
    path.write_text('{"text": "a"\n')
    assert message_of(source).startswith(f"corpus '{source}', document 1: cannot be read (JSON parse error: ")
    path.rename(tmp_path / "test.jsonl")
    assert message_of(source) == (f"corpus '{source}': has no split \"train\" (splits: test); choose another")
