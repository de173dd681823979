"""As much of HTTP/1.1 as a test's server needs, on one event loop in a thread of its own, for thousands of clients.

https://www.rfc-editor.org/rfc/rfc9112. What a request means and what is replied is the caller's; see `openai_server`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Mapping
from http.client import responses
from typing import NamedTuple

_BACKLOG = 4096  # connections that may wait to be accepted; the system may allow fewer
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER on, for 0 seconds: closing sends RST instead of FIN


class HttpRequest(NamedTuple):
    """One request.

    Args:
        method: in capitals, as it came.
        path: as it came.
        headers: by lower-case name.
        body: empty if there is none.
    """

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Connection:
    """One client's connection.

    Args:
        reader: what comes from the client.
        writer: what goes to it.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.stays_open = True
        """Whether another request may come."""

    async def read(self) -> HttpRequest | None:
        """Read the next request; None where the client has gone away, or speaks something else."""
        try:
            first, *lines = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
            method, path, version = first.split(" ")
            pairs = (line.partition(":") for line in lines)
            headers = {name.lower(): value.strip() for name, _, value in pairs}
            body = await self._reader.readexactly(int(headers.get("content-length", 0)))
        except (EOFError, ConnectionError, ValueError, asyncio.LimitOverrunError):
            return None
        self.stays_open = version == "HTTP/1.1" and headers.get("connection", "").lower() != "close"
        return HttpRequest(method, path, headers, body)

    def start(self, status: int, headers: Mapping[str, str]) -> bytes:
        """Write the beginning of a response, to be sent together with what follows.

        Args:
            status: such as 200.
            headers: by name; `content-length` or `transfer-encoding` among them.
        """
        lines = (f"{name}: {value}\r\n" for name, value in headers.items())
        return f"HTTP/1.1 {status} {responses.get(status, '')}\r\n{''.join(lines)}\r\n".encode("latin-1")

    async def send(self, data: bytes) -> None:
        """Send bytes as they are; nobody minds if the client has gone away."""
        with contextlib.suppress(ConnectionError):
            self._writer.write(data)
            await self._writer.drain()

    async def fall_silent(self) -> None:
        """Send nothing more, but stay connected until the client goes away."""
        self.stays_open = False
        with contextlib.suppress(ConnectionError):
            while await self._reader.read(65_536):
                pass

    def end(self) -> None:
        """Let the connection end after what was sent so far."""
        self.stays_open = False

    def reset(self) -> None:
        """Break the connection so that the client sees a reset (RST) and not an end (FIN)."""
        self.stays_open = False
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._writer.transport.abort()


Handler = Callable[[HttpRequest, Connection], Awaitable[None]]
"""Replies to one request over its connection."""


class Listener:
    """Listens on 127.0.0.1, and hands each request to a handler, on an event loop of its own.

    Args:
        port: 0 takes a free one.
        handle: replies to a request; runs on the loop, so it must not block.

    Raises:
        OSError: the port is taken.
    """

    def __init__(self, port: int, handle: Handler) -> None:
        self._socket = socket.create_server(("127.0.0.1", port), backlog=_BACKLOG)
        self.port: int = self._socket.getsockname()[1]
        self._handle = handle
        self._clients: set[asyncio.Task[None]] = set()
        self._ended = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="stanchion-testing-http", daemon=True)
        self._thread.start()

    def call(self, callback: Callable[[], object]) -> None:
        """Call something on the loop, in the order of these calls; nothing happens after `stop`."""
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(callback)

    def stop(self) -> None:
        """Shut all connections and wait for the thread; a second time does nothing."""
        self.call(self._ended.set)
        self._thread.join()

    def _run(self) -> None:
        self._loop.run_until_complete(self._listen())
        self._loop.close()

    async def _listen(self) -> None:
        server = await asyncio.start_server(self._accept, sock=self._socket, backlog=_BACKLOG)
        await self._ended.wait()
        server.close()
        for client in self._clients:
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        await asyncio.sleep(0)  # aborted connections are closed in the loop's next round

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = self._loop.create_task(self._serve(reader, writer))
        self._clients.add(client)
        client.add_done_callback(self._clients.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(reader, writer)
        try:
            while connection.stays_open and (request := await connection.read()):
                await self._handle(request, connection)
            writer.close()
        except BaseException:
            writer.transport.abort()
            raise
