"""The control socket: private, only for our own user, and it never ends the gateway whatever comes in."""

import asyncio
import json
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import control
from gateway.cli.control import SOCKET_NAME, Answer, Command, ask_gateway, peer_uid, serve_control
from gateway.cli.exits import CommandError, Exit
from storage.catalogue.conflicts import NoSuchAccount


async def echo(**arguments: str) -> Answer:
    return {"got": arguments}


async def refuse() -> Answer:
    raise CommandError("no, because", Exit.REFUSED)


async def conflict() -> Answer:
    raise NoSuchAccount("no such account")


async def burst() -> Answer:
    raise RuntimeError("secret-value-in-a-message")


async def long() -> Answer:
    return {"access_keys": [f"{number:020d}" for number in range(200_000)]}


COMMANDS: dict[str, Command] = {"echo": echo, "refuse": refuse, "conflict": conflict, "burst": burst, "long": long}


def while_serving(folder: Path, ask: Callable[[], Any], **options: Any) -> Any:
    async def run() -> Any:
        async with serve_control(folder, COMMANDS, **options):
            return await asyncio.to_thread(ask)

    return asyncio.run(run())


def raw(folder: Path, data: bytes) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX) as connection, control._short(folder) as short:
        connection.settimeout(10)
        connection.connect(str(short))
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        answer = connection.makefile("rb").readline()
    result: dict[str, Any] = json.loads(answer) if answer else {}
    return result


def test_a_command_and_its_answer(tmp_path: Path) -> None:
    assert while_serving(tmp_path, lambda: ask_gateway(tmp_path, "echo", {"a": "b"})) == {"got": {"a": "b"}}


def test_a_long_list_comes_whole(tmp_path: Path) -> None:
    answer = while_serving(tmp_path, lambda: ask_gateway(tmp_path, "long", {}))
    assert len(answer["access_keys"]) == 200_000


def test_the_socket_is_for_this_user_alone_and_goes_away(tmp_path: Path) -> None:
    path = tmp_path / SOCKET_NAME
    status = while_serving(tmp_path, path.lstat)
    assert stat.S_ISSOCK(status.st_mode)
    assert stat.S_IMODE(status.st_mode) == 0o600
    assert not path.exists()


def test_it_listens_on_no_network(tmp_path: Path) -> None:
    def families() -> set[str]:
        here = {line.split()[-1] for line in Path("/proc/net/unix").read_text().splitlines()[1:]}
        return {name for name in here if name.endswith(SOCKET_NAME)}

    assert while_serving(tmp_path, families)


def test_a_deep_folder_is_no_obstacle(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["d" * 50] * 5)
    deep.mkdir(parents=True)
    assert while_serving(deep, lambda: ask_gateway(deep, "echo", {})) == {"got": {}}


def test_the_kernel_names_the_peer() -> None:
    one, other = socket.socketpair(socket.AF_UNIX)
    with one, other:
        assert peer_uid(one) == os.getuid()


def test_another_user_is_refused_and_obeyed_in_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def must_not_run(*_: object) -> Answer:
        raise AssertionError("a stranger was obeyed")

    monkeypatch.setattr(control, "_answer", must_not_run)

    def ask() -> None:
        with pytest.raises(CommandError, match="only the user that runs the gateway"):
            ask_gateway(tmp_path, "echo", {})

    while_serving(tmp_path, ask, uid_of=lambda _: 12345)


@pytest.mark.parametrize(
    ("command", "words", "code"),
    [
        ("refuse", "no, because", Exit.REFUSED),
        ("conflict", "no such account", Exit.REFUSED),
        ("burst", "failed unexpectedly", Exit.BUG),
        ("unknown", "does not know this command", Exit.USAGE),
        ("__class__", "does not know this command", Exit.USAGE),
    ],
)
def test_failures_come_back_with_their_code(tmp_path: Path, command: str, words: str, code: Exit) -> None:
    def ask() -> None:
        with pytest.raises(CommandError, match=words) as caught:
            ask_gateway(tmp_path, command, {})
        assert caught.value.code is code
        assert "secret" not in str(caught.value)
        assert ask_gateway(tmp_path, "echo", {}) == {"got": {}}, "the gateway goes on"

    while_serving(tmp_path, ask)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"null\n",
        b"[]\n",
        b'{"command": "echo"}\n',
        b'{"command": "echo", "arguments": 5}\n',
        b'{"command": ["echo"], "arguments": {}}\n',
        b"\xff\xfe\n",
        b"[" * 100_000 + b"\n",
        b"x" * (control.MAX_LINE_BYTES + 10) + b"\n",
    ],
)
def test_nonsense_is_answered_or_dropped_and_the_gateway_goes_on(tmp_path: Path, data: bytes) -> None:
    def ask() -> None:
        try:
            answer = raw(tmp_path, data)
        except ConnectionError:
            answer = {}  # dropped before all of it was read
        assert "result" not in answer
        assert ask_gateway(tmp_path, "echo", {}) == {"got": {}}

    while_serving(tmp_path, ask)


def test_arguments_that_do_not_fit_are_a_failure_of_the_command(tmp_path: Path) -> None:
    def ask() -> None:
        with pytest.raises(CommandError):
            ask_gateway(tmp_path, "refuse", {"surplus": 1})

    while_serving(tmp_path, ask)


def test_a_silent_peer_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "REQUEST_TIMEOUT_S", 0.05)

    def ask() -> None:
        with socket.socket(socket.AF_UNIX) as connection, control._short(tmp_path) as short:
            connection.settimeout(10)
            connection.connect(str(short))
            assert connection.recv(1) == b""

    while_serving(tmp_path, ask)


def test_nobody_listens(tmp_path: Path) -> None:
    assert ask_gateway(tmp_path, "echo", {}) is None
    with socket.socket(socket.AF_UNIX) as left_by_a_kill, control._short(tmp_path) as short:
        left_by_a_kill.bind(str(short))
    assert ask_gateway(tmp_path, "echo", {}) is None
    assert while_serving(tmp_path, lambda: ask_gateway(tmp_path, "echo", {})) == {"got": {}}


def test_a_gateway_that_breaks_off_is_told(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening, control._short(tmp_path) as short:
        listening.bind(str(short))
        listening.listen()

        async def ask() -> None:
            task = asyncio.create_task(asyncio.to_thread(ask_gateway, tmp_path, "echo", {}))
            connection, _ = await asyncio.to_thread(listening.accept)
            connection.close()
            with pytest.raises(CommandError, match="broke off") as caught:
                await task
            assert caught.value.code is Exit.BUSY

        asyncio.run(ask())
