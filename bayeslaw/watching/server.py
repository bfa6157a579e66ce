"""Serve the page of a folder, with the standard library: a cluster's login node needs no more.

One page for one reader, that only reads: an application framework would add a dependency and no feature.
"""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from bayeslaw.errors import BadInput
from bayeslaw.watching.page import body, posterior_of, whole
from bayeslaw.watching.state import read_state

HOST, PORT = "127.0.0.1", 8765
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "
    "img-src data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
LOCAL = ("127.0.0.1", "localhost", "[::1]")


def serve(
    folder: Path, host: str = HOST, port: int = PORT, posterior: Path | None = None
) -> ThreadingHTTPServer:
    """A server of the page, listening and not yet answering: call its ``serve_forever``.

    Args:
        folder: of a sweep or loop; it is read anew for every answer.
        host: address to listen on; other machines reach none but ``0.0.0.0`` and the like.
        port: to listen on; 0 for one that is free.
        posterior: fit whose curves are drawn; by default the loop's latest.

    Raises:
        BadInput: a folder that is none, or an address that cannot be listened on.
    """
    read_state(folder)
    try:
        local = host.startswith("127.") or host in LOCAL
        page = partial(Page, folder=folder, posterior=posterior, local=local)
        return ThreadingHTTPServer((host, port), page)
    except (OSError, OverflowError) as error:
        raise BadInput(
            f"--port {port}: cannot listen on {host} ({error}); expected a free port; choose another"
        ) from None


class Page(BaseHTTPRequestHandler):
    """Answers GET of the page, and of its part that changes; nothing else, and no other site."""

    def __init__(self, *request: object, folder: Path, posterior: Path | None, local: bool) -> None:
        self.folder, self.posterior, self.local = folder, posterior, local
        super().__init__(*request)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        """The page at ``/``, its changing part at ``/body``, a loop's ``/report.html``.

        ``?run=ID`` opens a run's curve.
        """
        address = urlsplit(self.path)
        if not self._from_here():
            self._answer(HTTPStatus.FORBIDDEN, "this page answers no other site")
            return
        if address.path not in ("/", "/body", "/report.html"):
            self._answer(HTTPStatus.NOT_FOUND, "no such page")
            return
        chosen = parse_qs(address.query).get("run", [None])[0]
        try:
            state = read_state(self.folder)
            if address.path == "/report.html":
                self._report(state.report)
                return
            fit = posterior_of(self.posterior or state.posterior)
            self._answer(HTTPStatus.OK, (whole if address.path == "/" else body)(state, fit, chosen))
        except BadInput as error:
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, str(error))

    def _report(self, page: Path | None) -> None:
        """The loop's report, as it is at this moment."""
        try:
            text = page.read_text(encoding="utf-8") if page else ""
        except (OSError, UnicodeDecodeError):
            text = ""
        if text:
            self._answer(HTTPStatus.OK, text)
        else:
            self._answer(HTTPStatus.NOT_FOUND, "no report yet")

    def _from_here(self) -> bool:
        """Whether the request names this server: another site's name that leads here is refused."""
        name = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
        origin = self.headers.get("Origin")
        ours = origin is None or urlsplit(origin).netloc == self.headers["Host"]
        return ours and (not self.local or name in LOCAL)

    def _answer(self, status: HTTPStatus, text: str) -> None:
        kind = "text/html" if status is HTTPStatus.OK else "text/plain"
        sent = text.encode("utf-8", "replace")
        self.send_response(status)
        headers = {
            "Content-Type": f"{kind}; charset=utf-8",
            "Content-Length": str(len(sent)),
            "Content-Security-Policy": POLICY,
            "X-Content-Type-Options": "nosniff",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Cache-Control": "no-store",
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(sent)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing: the terminal is the user's."""
