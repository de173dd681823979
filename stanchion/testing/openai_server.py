"""A real HTTP server that speaks the OpenAI protocol, answers from a script and remembers what it was asked.

From a test, `with OpenAIServer(["Hello"]) as server: ChatOpenAI(base_url=server.url, api_key="test", model="any")`;
for tests in other processes, `python -m stanchion.testing.openai_server --answers FILE` prints its address.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import socketserver
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import IO, Any

from stanchion.errors import UsageError
from stanchion.testing.openai_protocol import complaint, completion, events, models
from stanchion.testing.replies import Reply, Request, error_body

Replies = Iterable[Reply | str]
"""Replies in order; a text stands for `Reply(text)`."""

Answers = Replies | Callable[[dict[str, Any]], Reply | str] | Mapping[str, Reply | str | Replies]
"""A script: replies in order, a function of the request's body, or replies by a part of the last user message."""

_SECRET_HEADERS = {"authorization", "api-key", "x-api-key", "cookie"}


class OpenAIServer:
    """An OpenAI-protocol server on 127.0.0.1, running in threads of its own while its `with` block lasts.

    Args:
        answers: replies in order, whoever asks; or a function of the request's JSON body; or a mapping from a part of
            the last user message to its reply (given every time) or replies (in order). The first part in the
            mapping's order that occurs counts. A request that the script has no reply to gets an error 500.
        port: the port to listen on; 0 takes a free one.
        log: a file to which each request is appended as a line of JSON, and synced, before it is answered; see
            `read_log`.

    Raises:
        UsageError: if `answers` is a single text.
    """

    def __init__(self, answers: Answers, *, port: int = 0, log: Path | None = None) -> None:
        self._script = _script(answers)
        self._port = port
        self._log_path = log
        self._log: IO[bytes] | None = None
        self._listener: _Listener | None = None
        self._requests: list[Request] = []
        self._arrived = threading.Condition()
        self._open_gate = threading.Event()
        self._open_gate.set()
        self._closing = threading.Event()

    def __enter__(self) -> OpenAIServer:
        if self._log_path:
            self._log = self._log_path.open("ab")
        self._listener = _Listener(self, self._port)
        threading.Thread(target=self._listener.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop at once: held replies are let go and open connections are shut."""
        assert self._listener  # noqa: S101 - __enter__ made it
        self._closing.set()
        self._open_gate.set()
        self._listener.stop()
        if self._log:
            self._log.close()

    @property
    def url(self) -> str:
        """The address to give to a client as its `base_url`.

        Raises:
            UsageError: outside of the server's `with` block.
        """
        if self._listener is None:
            raise UsageError("OpenAIServer has no address yet: use it as `with OpenAIServer(...) as server:`")
        return f"http://127.0.0.1:{self._listener.server_address[1]}/v1"

    @property
    def requests(self) -> list[Request]:
        """The requests for chat completions so far, in the order in which they came."""
        with self._arrived:
            return list(self._requests)

    @property
    def count(self) -> int:
        """How many requests for chat completions came so far."""
        return len(self.requests)

    def hold(self) -> None:
        """Keep every reply back until `release`."""
        self._open_gate.clear()

    def release(self) -> None:
        """Let go of the replies that were held, and hold no more."""
        self._open_gate.set()

    def wait_for(self, count: int, timeout: float = 10.0) -> bool:
        """Wait until so many requests have come.

        Args:
            count: how many, since the start.
            timeout: seconds after which to give up.

        Returns:
            Whether they came.
        """
        with self._arrived:
            return self._arrived.wait_for(lambda: len(self._requests) >= count, timeout)

    def _reply_to(self, request: Request) -> tuple[int, Reply]:
        """Record a request, find its reply, and wait for as long as the reply is held or delayed."""
        number = self._record(request)
        try:
            reply = self._script(request)
        except Exception as error:  # whatever a test's function raises must reach its client
            reply = _failure(f"the script raised {type(error).__name__}: {error}")
        reply = Reply(reply) if isinstance(reply, str) else reply
        self._open_gate.wait()
        self._closing.wait(reply.delay)
        return number, reply

    def _record(self, request: Request) -> int:
        with self._arrived:
            if self._log:
                self._log.write(json.dumps({"body": request.body, "headers": request.headers}).encode() + b"\n")
                self._log.flush()
                os.fsync(self._log.fileno())
            self._requests.append(request)
            self._arrived.notify_all()
            return len(self._requests)


def read_log(path: Path) -> list[Request]:
    """Read the requests that a server has logged, even while it runs.

    Args:
        path: the `log` of an `OpenAIServer`.
    """
    return [Request(**json.loads(line)) for line in path.read_bytes().splitlines()]


class _Listener(socketserver.ThreadingTCPServer):
    """The listening socket, and the connections that must be shut with it lest a client's pool keeps using them."""

    daemon_threads = True
    request_queue_size = 256
    allow_reuse_address = True

    def __init__(self, server: OpenAIServer, port: int) -> None:
        self.owner = server
        self._connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def close_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().close_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a client that went away is nobody's fault
            super().handle_error(request, client_address)

    def stop(self) -> None:
        self.shutdown()
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: _Listener
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # headers and body leave together

    def do_GET(self) -> None:
        if self.path == "/v1/models":
            self._send(Reply(body=models()))
        else:
            self._send(self._unknown())

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.path != "/v1/chat/completions":
            self._send(self._unknown())
            return
        try:
            body = json.loads(raw)
        except ValueError:
            body = None
        if reason := complaint(body):
            self._send(Reply(status=400, body=reason))
            return
        number, reply = self.server.owner._reply_to(Request(body, self._redacted_headers()))
        if reply.status == 200 and reply.body is None and body.get("stream"):
            self._stream(reply, list(events(reply, body, number)))
        elif reply.body is None:
            self._send(reply, completion(reply, body, number))
        else:
            self._send(reply)

    def log_message(self, *_: Any) -> None:
        """Say nothing on standard error; `requests` and the log have it all."""

    def _redacted_headers(self) -> dict[str, str]:
        pairs = ((name.lower(), value) for name, value in self.headers.items())
        return {name: "***" if name in _SECRET_HEADERS else value for name, value in pairs}

    def _unknown(self) -> Reply:
        return Reply(status=404, body=error_body(f"Invalid URL ({self.command} {self.path})"))

    def _send(self, reply: Reply, body: str | bytes | Mapping[str, Any] | None = None) -> None:
        body = reply.body if body is None else body
        raw = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self._send_headers(reply, {"content-type": "application/json", "content-length": str(len(raw))})
        self.wfile.write(raw[: len(raw) // 2] if reply.cut else raw)
        self.close_connection = self.close_connection or reply.cut

    def _stream(self, reply: Reply, stream: list[bytes]) -> None:
        self._send_headers(reply, {"content-type": "text/event-stream", "transfer-encoding": "chunked"})
        for event in stream[: len(stream) // 2] if reply.cut else stream:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(event), event))
            self.wfile.flush()
        if not reply.cut:
            self.wfile.write(b"0\r\n\r\n")
        self.close_connection = self.close_connection or reply.cut

    def _send_headers(self, reply: Reply, headers: dict[str, str]) -> None:
        self.send_response(reply.status)
        for name, value in (headers | {name.lower(): value for name, value in reply.headers.items()}).items():
            self.send_header(name, value)
        self.end_headers()


def _script(answers: Answers) -> Callable[[Request], Reply | str]:
    if isinstance(answers, str):
        raise UsageError('OpenAIServer takes a list of answers, not a text: OpenAIServer(["..."])')
    if isinstance(answers, Mapping):
        return _by_prompt(answers)
    if callable(answers):
        return lambda request: answers(request.body)
    return _in_order(answers)


def _in_order(replies: Replies) -> Callable[[Request], Reply | str]:
    remaining, lock = iter(replies), threading.Lock()

    def reply_to(_: Request) -> Reply | str:
        with lock:
            return next(remaining, _failure("the script has run out of replies"))

    return reply_to


def _by_prompt(replies: Mapping[str, Reply | str | Replies]) -> Callable[[Request], Reply | str]:
    scripts = {part: _always(one) if isinstance(one, Reply | str) else _in_order(one) for part, one in replies.items()}

    def reply_to(request: Request) -> Reply | str:
        prompt = request.prompt
        script = next((script for part, script in scripts.items() if part in prompt), None)
        return script(request) if script else _failure("the script has no reply to this prompt")

    return reply_to


def _always(reply: Reply | str) -> Callable[[Request], Reply | str]:
    return lambda _: reply


def _failure(what: str) -> Reply:
    return Reply(status=500, body=error_body(f"stanchion.testing: {what}", kind="server_error"))


def _read_answers(path: Path) -> Answers:
    """Read a script from JSON: a list of replies, or an object of replies by a part of the prompt."""

    def reply(value: Any) -> Any:
        return Reply(**value) if isinstance(value, dict) else value

    def replies(value: Any) -> Any:
        return [reply(one) for one in value] if isinstance(value, list) else reply(value)

    try:
        answers = json.loads(path.read_bytes())
        return {part: replies(one) for part, one in answers.items()} if isinstance(answers, dict) else replies(answers)
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"--answers {path}: {error}") from error


def main(arguments: list[str] | None = None) -> None:
    """Serve until the process is ended, after printing the address.

    Args:
        arguments: the command line without the program's name; the process's own if None.
    """
    parser = argparse.ArgumentParser(prog="python -m stanchion.testing.openai_server", description=main.__doc__)
    parser.add_argument("--answers", type=Path, required=True, help="JSON: a list of replies, or an object by prompt")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--log", type=Path, help="append each request to this file")
    options = parser.parse_args(arguments)
    with OpenAIServer(_read_answers(options.answers), port=options.port, log=options.log) as server:
        sys.stdout.write(f"{server.url}\n")
        sys.stdout.flush()
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
