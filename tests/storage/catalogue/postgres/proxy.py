"""A TCP relay between the catalogue and the server that breaks when it is told to, as a network does."""

import asyncio
import contextlib
from enum import Enum
from typing import Self


class Fault(Enum):
    """What happens to every connection from now on."""

    NONE = "none"
    LOSE_ANSWERS = "what the client sends arrives, and no answer comes back: the connection ends instead"
    LOSE_REQUESTS = "what the client sends is swallowed, and the connection ends"


class Proxy:
    """Relays to one port of loopback."""

    def __init__(self, port: int) -> None:
        self._target = port
        self.fault = Fault.NONE
        self.cuts = 0
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in list(self._writers):
            writer.close()
        await self._server.wait_closed()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, requests = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers |= {writer, requests}
        with contextlib.suppress(OSError):
            await asyncio.gather(self._to_server(reader, requests, writer), self._to_client(answers, writer, requests))
        for each in (writer, requests):
            self._writers.discard(each)
            each.close()

    async def _to_server(
        self, reader: asyncio.StreamReader, requests: asyncio.StreamWriter, writer: asyncio.StreamWriter
    ) -> None:
        while data := await reader.read(1 << 16):
            if self.fault is Fault.LOSE_REQUESTS:
                self._cut(writer, requests)
                return
            requests.write(data)
            await requests.drain()
        requests.close()

    async def _to_client(
        self, answers: asyncio.StreamReader, writer: asyncio.StreamWriter, requests: asyncio.StreamWriter
    ) -> None:
        while data := await answers.read(1 << 16):
            if self.fault is Fault.LOSE_ANSWERS:
                self._cut(writer, requests)
                return
            writer.write(data)
            await writer.drain()
        writer.close()

    def _cut(self, writer: asyncio.StreamWriter, requests: asyncio.StreamWriter) -> None:
        self.cuts += 1
        self.fault = Fault.NONE
        for each in (writer, requests):
            each.transport.abort()
