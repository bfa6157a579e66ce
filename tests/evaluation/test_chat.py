"""A chat server that answers, refuses, talks nonsense or keeps silent; and the record of what was said."""

import json
import socket
import threading
import time

import pytest

from bayeslaw.errors import BadInput
from bayeslaw.evaluation.chat import KEY, asker, completions_url, read_record, recorded
from tests.support.chat_server import completion, serving

HELLO = [{"role": "user", "content": "hello"}]
SECRET = "sk-not-to-be-seen"


def refused(reply, seconds=5.0):
    """The message of the error that a server's answer leads to."""
    with serving(reply) as (address, _), pytest.raises(BadInput) as caught:
        asker(address, "m", seconds)(HELLO)
    return str(caught.value)


def test_a_server_is_asked_as_openai_clients_ask(monkeypatch):
    monkeypatch.setenv(KEY, SECRET)
    with serving(lambda request: completion("hi")) as (address, requests):
        assert asker(address, "m")(HELLO) == "hi"
    assert requests[0]["path"] == "/v1/chat/completions"
    assert requests[0]["body"] == {"model": "m", "messages": HELLO}
    assert requests[0]["headers"]["Authorization"] == f"Bearer {SECRET}"


def test_without_a_key_no_header_is_sent(monkeypatch):
    monkeypatch.delenv(KEY, raising=False)
    with serving(lambda request: completion(None)) as (address, requests):
        assert asker(address, "m")(HELLO) == ""
    assert "Authorization" not in requests[0]["headers"]


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (401, b"no key", "answered 401 Unauthorized (no key); expected a chat completion; put the server's "
         f"key into the environment variable {KEY}"),
        (404, b"", "answered 404 Not Found (nothing); expected a chat completion; check the address"),
        (503, b"busy\x00\nnow" + b"." * 500, "answered 503 Service Unavailable (busy? now..."),
        (200, b"<html>hello</html>", "answered something else than a chat completion (<html>hello</html>)"),
        (200, b'{"choices": []}', "answered something else than a chat completion"),
        (200, b"[" * 100_000, "answered something else than a chat completion"),
        (200, b"\xff\xfe", "answered something else than a chat completion"),
    ],
)  # fmt: skip
def test_what_is_no_completion_is_one_clear_error(status, body, told):
    message = refused(lambda request: (status, body))
    assert message.startswith("--endpoint http://127.0.0.1:")
    assert told in message
    assert "\n" not in message


def test_silence_ends(monkeypatch):
    began = time.monotonic()
    assert "no answer within 0.3 s" in refused(lambda request: None, seconds=0.3)
    assert time.monotonic() - began < 3


def test_a_server_that_sends_byte_by_byte_does_not_hold_us():
    """Every byte is in time, the answer is not."""
    ending = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def drip():
            connection, _ = listening.accept()
            with connection:
                for byte in b"HTTP/1.1 200 OK\r\n" + b"x" * 100:
                    if ending.wait(0.1):
                        return
                    connection.sendall(bytes([byte]))

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            with pytest.raises(BadInput, match=r"no answer within 0\.4 s"):
                asker(f"http://127.0.0.1:{listening.getsockname()[1]}", "m", 0.4)(HELLO)
        finally:
            ending.set()
            thread.join()


def test_nobody_there():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with pytest.raises(BadInput, match=r"no answer \(.*refused\); expected a chat completion; is the server"):
        asker(f"http://127.0.0.1:{port}", "m")(HELLO)


@pytest.mark.parametrize(
    "address",
    [
        "localhost:8000",
        "file:///etc/passwd",
        "https://",
        "http://[::1",
        "http://h:99999",
        f"https://user:{SECRET}@host/v1",
        f"https://host/v1?key={SECRET}",
        f"https://host/v1#{SECRET}",
        f"https://host/{SECRET} x",
    ],
)
def test_addresses_that_are_none_or_hold_a_key_are_refused_without_repeating_it(address):
    with pytest.raises(BadInput, match="--endpoint") as caught:
        completions_url(address)
    assert SECRET not in str(caught.value)
    assert KEY in str(caught.value)


@pytest.mark.parametrize("key", ["sk with spaces", "sk\r\nX-Header: 1", "schlüssel"])
def test_a_key_that_no_header_can_hold_is_refused_without_repeating_it(monkeypatch, key):
    monkeypatch.setenv(KEY, key)
    with pytest.raises(BadInput, match=f"{KEY}: no key") as caught:
        asker("http://localhost/v1", "m")
    assert "sk" not in str(caught.value).replace(KEY, "")


def test_a_server_that_repeats_the_key_is_quoted_without_it(monkeypatch, tmp_path):
    monkeypatch.setenv(KEY, SECRET)
    assert SECRET not in refused(lambda request: (401, f"wrong key {SECRET}".encode()))
    record = tmp_path / "llm.jsonl"
    with serving(lambda request: completion(f"your key is {SECRET}")) as (address, _):
        assert recorded(asker(address, "m"), "m", record)(HELLO) == "your key is ***"
    assert SECRET not in record.read_text()


def test_a_redirect_does_not_get_the_key(monkeypatch):
    monkeypatch.setenv(KEY, SECRET)
    got = []

    def moved(connection):
        got.append(connection.recv(65536).decode())
        connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as other, socket.create_server(("127.0.0.1", 0)) as first:

        def answer():
            connection, _ = first.accept()
            with connection:
                connection.recv(65536)
                place = f"http://127.0.0.1:{other.getsockname()[1]}/elsewhere"
                connection.sendall(
                    f"HTTP/1.1 302 Found\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n".encode()
                )
            connection, _ = other.accept()
            with connection:
                moved(connection)

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(BadInput, match="404"):
            asker(f"http://127.0.0.1:{first.getsockname()[1]}", "m", 5)(HELLO)
        thread.join()
    assert "/elsewhere" in got[0]
    assert "authorization" not in got[0].lower()


def test_the_record_holds_what_was_said_and_answers_it_again(tmp_path):
    record, asked = tmp_path / "llm.jsonl", []

    def ask(messages):
        asked.append(messages)
        return f"answer {len(asked)}"

    first = recorded(ask, "m", record)
    assert [first(HELLO), first(HELLO), first([*HELLO, *HELLO])] == ["answer 1", "answer 1", "answer 2"]
    (row, _) = read_record(record)
    assert (row["model"], row["messages"], row["answer"]) == ("m", HELLO, "answer 1")
    again = recorded(ask, "m", record)
    assert again(HELLO) == "answer 1"
    assert len(asked) == 2
    assert recorded(ask, "another model", record)(HELLO) == "answer 3"
    assert len(read_record(record)) == 3


@pytest.mark.parametrize(
    "line", ["x", "3", '{"model": "m"}', '{"model": "m", "messages": [1], "answer": "a"}']
)
def test_a_file_that_is_no_record_is_left_alone(tmp_path, line):
    record = tmp_path / "notes.jsonl"
    record.write_text(json.dumps({"model": "m", "messages": [], "answer": ""}) + "\n" + line + "\n")
    before = record.read_text()
    with pytest.raises(BadInput, match=r"line 2 is no question to a model"):
        recorded(lambda messages: "", "m", record)
    assert record.read_text() == before
