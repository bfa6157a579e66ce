"""Ask a server of the OpenAI kind for chat completions, with the standard library, and keep what was said.

Any server with ``POST {endpoint}/chat/completions`` does: vLLM, llama.cpp, Ollama, a provider. The key is
read from the environment variable ``BAYESLAW_LLM_KEY`` and stands in the header of requests only: an address
that holds one is refused, and a server that repeats it is quoted without it.
"""

from __future__ import annotations

import http.client
import json
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar
from urllib.parse import urlsplit

from bayeslaw.errors import BadInput
from bayeslaw.files import check_writable, write_atomically

KEY = "BAYESLAW_LLM_KEY"
"""Environment variable that holds the key of the server, if it wants one."""

SECONDS = 120.0
"""Time that one answer may take, from the request to its last byte."""

LARGEST = 1_000_000
"""Bytes of an answer that are read."""

Messages = Sequence[Mapping[str, str]]
Ask = Callable[[Messages], str]
"""A conversation, messages of ``role`` and ``content`` -> the content of the model's next message."""

Result = TypeVar("Result")


def asker(endpoint: str, model: str, seconds: float | None = None) -> Ask:
    """A function that asks one model of one server.

    Args:
        endpoint: base address of the server, such as http://localhost:8000/v1.
        model: its name there.
        seconds: time that one answer may take; by default ``SECONDS``.

    Returns:
        The function; it raises BadInput where the server does not answer in time, answers an error, or
        answers something else than a chat completion.

    Raises:
        BadInput: no such address, one that holds a key, or a key that no header can hold.
    """
    url, key, limit = completions_url(endpoint), _key(), SECONDS if seconds is None else seconds

    def shown(text: str) -> str:
        return text.replace(key, "***") if key else text

    def ask(messages: Messages) -> str:
        body = json.dumps({"model": model, "messages": [dict(each) for each in messages]}).encode()
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        if key:  # unredirected: a server that sends the request elsewhere does not send the key with it
            request.add_unredirected_header("Authorization", f"Bearer {key}")
        try:
            return shown(_content(_within(limit, lambda: _answer(request, limit))))
        except _NoAnswerError as error:
            raise BadInput(f"--endpoint {url}: {shown(str(error))}") from None

    return ask


def completions_url(endpoint: str) -> str:
    """Where a server takes conversations.

    >>> completions_url("http://localhost:8000/v1/")
    'http://localhost:8000/v1/chat/completions'

    Raises:
        BadInput: an address of another kind, or one with a user, a query or a fragment, where keys stand.
    """
    try:
        parts = urlsplit(endpoint.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        parts, host, port = urlsplit(""), None, None
    if parts.scheme not in ("http", "https") or not host or parts.username is not None:
        raise BadInput(
            "--endpoint: no address of a server; expected http:// or https:// and a host without a user, as "
            f"in http://localhost:8000/v1; a key goes into the environment variable {KEY}"
        )
    where = f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{f':{port}' if port else ''}"
    if parts.query or parts.fragment or not endpoint.isascii() or any(c.isspace() for c in endpoint.strip()):
        raise BadInput(
            f"--endpoint {where}: more than an address follows; expected one without ?, # and spaces, as in "
            f"http://localhost:8000/v1; a key goes into the environment variable {KEY}"
        )
    return where + parts.path.rstrip("/").removesuffix("/chat/completions") + "/chat/completions"


def recorded(ask: Ask, model: str, path: Path) -> Ask:
    """``ask`` with a memory: what the file holds is not asked again, and what is asked is added to it.

    A model rarely answers twice alike, so the file is what makes scores repeatable; it also lets a run that
    an error ended go on.

    Args:
        ask: the function.
        model: that it asks; another model's answers are not its own.
        path: file of JSON lines with ``time``, ``model``, ``messages`` and ``answer``; made if missing.

    Raises:
        BadInput: a file that cannot be written, or holds something else.
    """
    check_writable(path)
    rows = read_record(path)
    known = {_question(row["model"], row["messages"]): str(row["answer"]) for row in rows}

    def remembered(messages: Messages) -> str:
        question = _question(model, messages)
        if question not in known:
            known[question] = ask(messages)
            asked = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "model": model}
            rows.append(asked | {"messages": [dict(each) for each in messages], "answer": known[question]})
            with write_atomically(path) as temporary:
                temporary.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return known[question]

    return remembered


def read_record(path: Path) -> list[dict[str, Any]]:
    """The lines of a record, in order; none without a file.

    Raises:
        BadInput: a line that is none of a record.
    """
    if not path.exists():
        return []
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        try:
            row = json.loads(line)
            _question(row["model"], row["messages"]), row["answer"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise BadInput(
                f"{path}: line {number} is no question to a model; expected the lines that `bayeslaw "
                "evaluate --method llm` wrote; name another file with --record"
            ) from None
        rows.append(row)
    return rows


def _question(model: str, messages: Messages) -> str:
    return json.dumps([model, [[each["role"], each["content"]] for each in messages]])


class _NoAnswerError(Exception):
    """What went wrong, without the address."""


def _key() -> str:
    key = os.environ.get(KEY, "").strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise BadInput(f"{KEY}: no key; expected printable ASCII characters without spaces; set it again")
    return key


def _within(seconds: float, work: Callable[[], Result]) -> Result:
    """The result of ``work``, waited for so long: a socket's own limit starts anew with every byte."""
    done: SimpleQueue[tuple[Result | None, Exception | None]] = SimpleQueue()

    def run() -> None:
        try:
            done.put((work(), None))
        except Exception as error:
            done.put((None, error))

    threading.Thread(target=run, daemon=True).start()
    try:
        result, error = done.get(timeout=seconds)
    except Empty:
        raise _NoAnswerError(_silence(seconds)) from None
    if error is not None:
        raise error
    return result  # type: ignore[return-value]


def _answer(request: urllib.request.Request, seconds: float) -> bytes:
    """The body of a server's answer."""
    try:
        return _body(request, seconds)
    except TimeoutError:
        raise _NoAnswerError(_silence(seconds)) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        why = getattr(error, "reason", error)
        told = f"no answer ({why}); expected a chat completion; is the server running, and the address right?"
        raise _NoAnswerError(_silence(seconds) if isinstance(why, TimeoutError) else told) from None


def _body(request: urllib.request.Request, seconds: float) -> bytes:
    try:
        with urllib.request.urlopen(request, timeout=seconds) as answer:
            return bytes(answer.read(LARGEST))
    except urllib.error.HTTPError as error:
        with error:
            raise _NoAnswerError(_refusal(error.code, error.reason, error.read(LARGEST))) from None


def _silence(seconds: float) -> str:
    return (
        f"no answer within {seconds:g} s; expected a chat completion; is the server running, or overloaded?"
    )


def _refusal(code: int, reason: object, body: bytes) -> str:
    steps = {
        401: f"put the server's key into the environment variable {KEY}",
        403: f"put a key that may use the model into the environment variable {KEY}",
        404: "check the address, which usually ends in /v1, and the name of the model",
        429: "wait, and give the same command again: what was answered is kept",
    }
    step = steps.get(code, "give the same command again later: what was answered is kept")
    return f"answered {code} {reason} ({_excerpt(body)}); expected a chat completion; {step}"


def _content(body: bytes) -> str:
    try:
        content = json.loads(body)["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError, RecursionError):
        raise _NoAnswerError(
            f"answered something else than a chat completion ({_excerpt(body)}); expected JSON with "
            "choices[0].message.content; check the address, which usually ends in /v1"
        ) from None
    return content if isinstance(content, str) else ""


def _excerpt(body: bytes) -> str:
    """The beginning of a text in one printable line."""
    text = " ".join(body.decode("utf-8", "replace").split())
    shown = "".join(c if c.isprintable() else "?" for c in text)
    return f"{shown[:200]} ..." if len(shown) > 200 else shown or "nothing"
