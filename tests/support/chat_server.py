"""A stub of an OpenAI-style server, in a thread of this process."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Reply = Callable[[dict], "tuple[int, bytes] | None"]
"""Request (path, headers, body) -> status and body; None keeps silent until the server is closed."""


def completion(content: object) -> tuple[int, bytes]:
    """A chat completion with some content."""
    return 200, json.dumps({"choices": [{"message": {"role": "assistant", "content": content}}]}).encode()


@contextmanager
def serving(reply: Reply) -> Iterator[tuple[str, list[dict]]]:
    """The base address of a server, and the requests that it has had."""
    requests: list[dict] = []
    closing = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            requests.append({"path": self.path, "headers": dict(self.headers), "body": json.loads(body)})
            found = reply(requests[-1])
            if found is None:
                closing.wait(10)
                return
            self.send_response(found[0])
            self.send_header("Content-Length", str(len(found[1])))
            self.end_headers()
            self.wfile.write(found[1])

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", requests
    finally:
        closing.set()
        server.shutdown()
        thread.join()
        server.server_close()
