"""The control socket: how commands reach the gateway that owns the catalogue, and nobody else does.

A Unix socket of mode 0600 in the data folder. Each connection carries one request and its answer, a JSON object and a
newline each; the kernel tells who is at the other end (unix(7), SO_PEERCRED), and only the gateway's own user is heard.
"""

import asyncio
import contextlib
import json
import logging
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from gateway.cli.exits import CommandError, Exit, exit_of

SOCKET_NAME: Final = "control.sock"
MAX_LINE_BYTES: Final = 1024 * 1024
"""Of a request."""
MAX_ANSWER_BYTES: Final = 1024**3
"""An answer may list every access key there is."""
REQUEST_TIMEOUT_S: Final = 10.0
"""A peer has so long to send its request."""
ANSWER_TIMEOUT_S: Final = 3600.0
"""A sweep of a large store takes its time."""

_PEER: Final = struct.Struct("3i")  # struct ucred: pid, uid, gid
_log = logging.getLogger(__name__)

Answer = dict[str, Any]
"""JSON values."""
Command = Callable[..., Awaitable[Answer]]


def peer_uid(connection: socket.socket) -> int:
    """The user at the other end, as the kernel recorded it when the connection was made."""
    _, uid, _ = _PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    return int(uid)


@contextlib.asynccontextmanager
async def serve_control(
    folder: Path,
    commands: Mapping[str, Command],
    *,
    uid_of: Callable[[socket.socket], int] = peer_uid,
    may_share: bool = False,
) -> AsyncIterator[None]:
    """Answer commands until the block is left. The caller owns the folder's lock, so an old socket is debris.

    Where the folder is shared (`may_share`) the first gateway answers for all; without it commands run by themselves.

    Raises:
        CommandError: the socket cannot be made.
    """
    path = folder / SOCKET_NAME
    if may_share and _answers(folder):
        yield
        return
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        try:
            path.unlink(missing_ok=True)
            with _short(folder) as short:
                listening.bind(str(short))
            path.chmod(0o600)
        except OSError as error:
            raise CommandError(f"{path} cannot be made ({error.strerror}): check the folder", Exit.SETUP) from None

        async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await _converse(reader, writer, commands, uid_of)

        server = await asyncio.start_unix_server(on_connection, sock=listening, limit=MAX_LINE_BYTES)
        async with server:
            yield
    finally:
        listening.close()
        path.unlink(missing_ok=True)


async def _converse(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    commands: Mapping[str, Command],
    uid_of: Callable[[socket.socket], int],
) -> None:
    try:
        connection = writer.get_extra_info("socket")
        uid = uid_of(connection)
        async with asyncio.timeout(REQUEST_TIMEOUT_S):
            line = await reader.readline()  # also of a stranger: a socket closed with bytes unread eats the answer
        if uid != os.geteuid():
            _log.warning("refused a command of user %d", uid)
            answer: Answer = _refusal("only the user that runs the gateway may command it", Exit.REFUSED)
        else:
            answer = await _answer(line, commands)
        writer.write(json.dumps(answer).encode("ascii") + b"\n")
        await writer.drain()
    except (ConnectionError, TimeoutError, asyncio.LimitOverrunError, ValueError):
        _log.info("a control connection broke off")
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def _answer(line: bytes, commands: Mapping[str, Command]) -> Answer:
    try:
        request = json.loads(line)
        command, arguments = commands[request["command"]], dict(request["arguments"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return _refusal("the gateway does not know this command: is it of the same version?", Exit.USAGE)
    try:
        return {"result": await command(**arguments)}
    except Exception as error:  # noqa: BLE001 - as the next line says
        # Whatever a command raises must reach who asked, and must not end the gateway.
        code = exit_of(error)
        if code is None:
            _log.exception("a command failed unexpectedly")
            return _refusal("the command failed unexpectedly; the gateway's log says how", Exit.BUG)
        return _refusal(str(error), code)


def _refusal(message: str, code: Exit) -> Answer:
    return {"error": {"message": message, "code": int(code)}}


def _answers(folder: Path) -> bool:
    """Whether a gateway listens on the socket of this folder."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as connection:
        try:
            with _short(folder) as short:
                connection.connect(str(short))
        except OSError:
            return False
    return True


def ask_gateway(folder: Path, command: str, arguments: Mapping[str, Any]) -> Answer | None:
    """Have the gateway that serves this data folder run a command; None where none does.

    Raises:
        CommandError: it refused, or broke off.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as connection:
        connection.settimeout(ANSWER_TIMEOUT_S)
        try:
            with _short(folder) as short:
                connection.connect(str(short))
        except (FileNotFoundError, ConnectionRefusedError):
            return None  # nobody listens: the socket is debris of a gateway that was killed
        except OSError as error:
            raise CommandError(f"the gateway cannot be reached ({error.strerror}): run as its user") from None
        try:
            connection.sendall(json.dumps({"command": command, "arguments": dict(arguments)}).encode("ascii") + b"\n")
            with connection.makefile("rb") as lines:
                answer = json.loads(lines.readline(MAX_ANSWER_BYTES))
        except (OSError, ValueError):
            raise CommandError("the gateway broke off: see its log, and try again", Exit.BUSY) from None
    if "error" in answer:
        raise CommandError(str(answer["error"]["message"]), Exit(answer["error"]["code"]))
    result: Answer = answer["result"]
    return result


@contextlib.contextmanager
def _short(folder: Path) -> Iterator[Path]:
    """A path to the socket that fits: a socket address holds 107 bytes, however deep the data folder lies."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield Path(f"/proc/self/fd/{descriptor}") / SOCKET_NAME
    finally:
        os.close(descriptor)
