#!/usr/bin/env python3
"""An API to put behind Envoy: answers every method and path with 200, /status/CODE with that code, and /tokens/NUMBER as an LLM
would that used so many tokens (`x-tokens-used`).

    python3 envoy/upstream.py [PORT]        0, the default, takes a free port; the port is printed

The body repeats what arrived: method, path and the headers a gateway may have changed. API keys are not repeated.
"""

import json
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any, Callable, Optional

REPEATED = re.compile(r"host|user-agent|content-type|x-(?!api-key$).*", re.IGNORECASE)
STATUS = re.compile(r"/status/([2-5]\d\d)(?:\?.*)?")
TOKENS = re.compile(r"/tokens/(\d{1,9})(?:\?.*)?")
BODILESS = (204, 304)


class Upstream(ThreadingHTTPServer):
    """The server; `server_port` is where it listens."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)

    def server_bind(self) -> None:
        TCPServer.server_bind(self)  # HTTPServer's own asks DNS for this machine's name
        self.server_name, self.server_port = "127.0.0.1", self.socket.getsockname()[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):  # Envoy may hang up whenever it likes
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # an answer is one write

    def __getattr__(self, name: str) -> Callable[[], None]:
        if name.startswith("do_"):  # any method
            return self.answer
        raise AttributeError(name)

    def answer(self) -> None:
        self.discard_body()
        wanted = STATUS.fullmatch(self.path)
        code = int(wanted[1]) if wanted else 200
        headers = {name.lower(): value for name, value in self.headers.items() if REPEATED.fullmatch(name)}
        told = {"method": self.command, "path": self.path, "headers": headers}
        body = b"" if code in BODILESS else json.dumps(told).encode() + b"\n"
        self.send_response(code)
        if used := TOKENS.fullmatch(self.path):
            self.send_header("X-Tokens-Used", used[1])
        if code not in BODILESS:
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def discard_body(self) -> None:
        """What is left of one request would be taken for the next."""
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            while self.discard(int(self.rfile.readline().split(b";")[0] or b"0", 16)):
                self.rfile.readline()
            while self.rfile.readline().strip():  # trailers
                pass
        else:
            self.discard(int(self.headers.get("Content-Length", "0")))

    def discard(self, size: int) -> int:
        left = size
        while left:
            piece = self.rfile.read(min(left, 1 << 16))
            if not piece:
                raise ConnectionResetError
            left -= len(piece)
        return size

    def log_message(self, *_: object) -> None:
        """Envoy writes the access log."""

    def version_string(self) -> str:
        return "upstream"


def main(port: Optional[str] = None) -> None:
    try:
        server = Upstream(int(port or 0))
    except (OSError, ValueError, OverflowError) as error:
        sys.exit(f"error: cannot listen on port `{port}`: {error}")
    print(server.server_port, flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main(*sys.argv[1:2])
