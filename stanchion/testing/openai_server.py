"""A real HTTP server that speaks the OpenAI protocol, answers from a script and remembers what it was asked.

From a test, `with OpenAIServer(["Hello"]) as server: ChatOpenAI(base_url=server.url, api_key="test", model="any")`;
for tests in other processes, `python -m stanchion.testing.openai_server --answers FILE` prints its address.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import os
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, NamedTuple

from stanchion.clock import Clock
from stanchion.errors import UsageError
from stanchion.testing._http import Connection, HttpRequest, Listener
from stanchion.testing.faults import FaultPlan, PlanAtWork
from stanchion.testing.openai_protocol import complaint, completion, events, models, usage
from stanchion.testing.replies import Reply, Request, error_body

Replies = Iterable[Reply | str]
"""Replies in order; a text stands for `Reply(text)`."""

Answers = Replies | Callable[[dict[str, Any]], Reply | str] | Mapping[str, Reply | str | Replies]
"""A script: replies in order, a function of the request's body, or replies by a part of the last user message."""

_SECRET_HEADERS = {"authorization", "api-key", "x-api-key", "cookie"}


_THREADS = 64  # for scripts that are functions, which may block


class Usage(NamedTuple):
    """Tokens that were billed.

    Args:
        input_tokens: read.
        output_tokens: written.
    """

    input_tokens: int = 0
    output_tokens: int = 0


class OpenAIServer:
    """An OpenAI-protocol server on 127.0.0.1, running in a thread of its own while its `with` block lasts.

    Args:
        answers: replies in order, whoever asks; or a function of the request's JSON body, called in one of 64 threads;
            or a mapping from a part of the last user message to its reply (given every time) or replies (in order).
            The first part in the mapping's order that occurs counts. A request that the script has no reply to gets
            an error 500.
        port: the port to listen on; 0 takes a free one.
        log: a file to which each request is appended as a line of JSON, and synced, before it is answered; see
            `read_log`.
        faults: what goes wrong with which requests; nothing but what the answers say, if None.
        clock: for the outages of `faults`; replies are delayed in real time.

    Raises:
        UsageError: if `answers` is a single text.
    """

    def __init__(
        self,
        answers: Answers,
        *,
        port: int = 0,
        log: Path | None = None,
        faults: FaultPlan | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._script = _script(answers)
        self._threads = ThreadPoolExecutor(_THREADS) if callable(answers) else None
        self._port = port
        self._log_path = log
        self._log: IO[bytes] | None = None
        self._faults = PlanAtWork(faults, clock)
        self._listener: Listener | None = None
        self._requests: list[Request] = []
        self._usage = Usage()
        self._arrived = threading.Condition()
        self._open_gate = asyncio.Event()
        self._open_gate.set()

    def __enter__(self) -> OpenAIServer:
        if self._log_path:
            self._log = self._log_path.open("ab")
        self._listener = Listener(self._port, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop at once: open connections are shut, and what they wait for does not come."""
        assert self._listener  # noqa: S101 - __enter__ made it
        self._listener.stop()
        if self._threads:
            self._threads.shutdown(wait=False, cancel_futures=True)
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
        return f"http://127.0.0.1:{self._listener.port}/v1"

    @property
    def requests(self) -> list[Request]:
        """The requests for chat completions so far, in the order in which they came."""
        with self._arrived:
            return list(self._requests)

    @property
    def count(self) -> int:
        """How many requests for chat completions came so far."""
        with self._arrived:
            return len(self._requests)

    @property
    def faults(self) -> dict[str, int]:
        """How many requests were struck so far, by the name of the fault."""
        return self._faults.struck

    @property
    def usage(self) -> Usage:
        """The tokens of all completions so far, as a provider bills them: those too whose client did not wait.

        A completion counts from the moment that its request is read, before any delay.
        """
        return self._usage

    def hold(self) -> None:
        """Keep every reply back until `release`."""
        self._on_loop(self._open_gate.clear)

    def release(self) -> None:
        """Let go of the replies that were held, and hold no more."""
        self._on_loop(self._open_gate.set)

    def _on_loop(self, callback: Callable[[], None]) -> None:
        if self._listener:
            self._listener.call(callback)
        else:
            callback()

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

    async def _handle(self, request: HttpRequest, connection: Connection) -> None:
        if request.method == "POST" and request.path == "/v1/chat/completions":
            await self._complete(request, connection)
        elif request.method == "GET" and request.path == "/v1/models":
            await _send(connection, Reply(body=models()))
        else:
            reason = error_body(f"Invalid URL ({request.method} {request.path})")
            await _send(connection, Reply(status=404, body=reason))

    async def _complete(self, http: HttpRequest, connection: Connection) -> None:
        try:
            body = json.loads(http.body)
        except (ValueError, RecursionError):
            body = None
        if reason := complaint(body):
            await _send(connection, Reply(status=400, body=reason))
            return
        request = Request(body, _redacted(http.headers))
        number = self._record(request)
        reply = await self._reply_to(request)
        if _is_billed(reply):
            counts = usage(reply, body)
            read, written = self._usage
            self._usage = Usage(read + counts["prompt_tokens"], written + counts["completion_tokens"])
        await self._open_gate.wait()
        await _deliver(connection, reply, body, number)

    async def _reply_to(self, request: Request) -> Reply:
        """Ask the script, and let the fault have its way that strikes this request."""
        fault = self._faults.next()
        if fault and fault.instead:
            return fault.instead
        try:
            reply = await self._ask_script(request)
        except Exception as error:  # whatever a test's function raises must reach its client
            reply = _failure(f"the script raised {type(error).__name__}: {error}")
        reply = Reply(reply) if isinstance(reply, str) else reply
        return fault.spoil(reply, request.body) if fault else reply

    async def _ask_script(self, request: Request) -> Reply | str:
        if self._threads is None:
            return self._script(request)
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._script, request)

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


def _redacted(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: "***" if name in _SECRET_HEADERS else value for name, value in headers.items()}


def _is_billed(reply: Reply) -> bool:
    return reply.status == 200 and reply.body is None and not reply.reset and reply.delay < math.inf


async def _deliver(connection: Connection, reply: Reply, body: Mapping[str, Any], number: int) -> None:
    """Send a reply in its time and in the shape that was asked for, or do what it says instead."""
    if reply.reset:
        connection.reset()
    elif reply.delay == math.inf:
        await connection.fall_silent()
    else:
        await asyncio.sleep(reply.delay)
        if reply.status == 200 and reply.body is None and body.get("stream"):
            await _stream(connection, reply, list(events(reply, body, number)))
        else:
            await _send(connection, reply, completion(reply, body, number) if reply.body is None else None)


async def _send(connection: Connection, reply: Reply, body: Mapping[str, Any] | None = None) -> None:
    content = reply.body if body is None else body
    raw = content.encode() if isinstance(content, str) else content
    raw = raw if isinstance(raw, bytes) else json.dumps(raw).encode()
    head = _head(connection, reply, {"content-type": "application/json", "content-length": str(len(raw))})
    breaks = reply.cut or reply.stall
    await connection.send(head + (raw[: len(raw) // 2] if breaks else raw))
    if breaks:
        await _break(connection, reply)


async def _stream(connection: Connection, reply: Reply, stream: list[bytes]) -> None:
    head = _head(connection, reply, {"content-type": "text/event-stream", "transfer-encoding": "chunked"})
    breaks = reply.cut or reply.stall
    await connection.send(head)
    for event in stream[: len(stream) // 2] if breaks else stream:
        await connection.send(b"%x\r\n%b\r\n" % (len(event), event))
    if breaks:
        await _break(connection, reply)
    else:
        await connection.send(b"0\r\n\r\n")


async def _break(connection: Connection, reply: Reply) -> None:
    if reply.stall:
        await connection.fall_silent()
    else:
        connection.end()


def _head(connection: Connection, reply: Reply, headers: dict[str, str]) -> bytes:
    own = {name.lower(): value for name, value in reply.headers.items()}
    return connection.start(reply.status, headers | own)


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
