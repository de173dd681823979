"""A real HTTP server on 127.0.0.1 that answers every request as it is told, for clients of the Anthropic protocol."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

GOOD: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-test",
    "content": [{"type": "text", "text": "Hello"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 3, "output_tokens": 1},
}


class AnthropicServer:
    """Serve the same reply to everyone while the `with` block lasts.

    Args:
        body: sent as it is if bytes, else as JSON.
        status: the HTTP status.
        headers: HTTP headers to add.
    """

    def __init__(self, body: Any = None, status: int = 200, headers: dict[str, str] | None = None) -> None:
        raw = body if isinstance(body, bytes) else json.dumps(GOOD if body is None else body).encode()
        sent = {"content-type": "application/json", "content-length": str(len(raw)), **(headers or {})}
        self.seen: list[dict[str, str]] = []
        seen = self.seen

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("content-length", 0)))
                seen.append({name.lower(): value for name, value in self.headers.items()})
                self.send_response(status)
                for name, value in sent.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    @property
    def count(self) -> int:
        """How many requests came."""
        return len(self.seen)

    def __enter__(self) -> AnthropicServer:
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
