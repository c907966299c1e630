"""Runs a move in a stage to its end, as the commands do."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.engine.filling import Filler
from gateway.engine.integrity import EtagMode
from gateway.moving.endpoint import Patience
from gateway.moving.jobs import Moves
from gateway.moving.report import EXPORT, IMPORT
from gateway.wiring.moves import MoveCommands
from tests.gateway.operations.stage import Stage

PATIENCE = Patience()


def commands(
    stage: Stage, etag_mode: EtagMode = EtagMode.MD5, holder: str = "owner", patience: Patience | None = None
) -> MoveCommands:
    rig = stage.rig
    filler = Filler(catalogue=rig.catalogue, custody=rig.custody, writer=rig.writer, blobs=rig.blobs)
    return MoveCommands(stage.services, Moves(), etag_mode, holder, filler, patience or PATIENCE)


def give_up_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let sources be as impatiently waited for as no setting allows."""
    monkeypatch.setattr("tests.gateway.moving.moving.PATIENCE", Patience(1024 * 1024, window_s=0.3))


async def until(is_so: Callable[[], Awaitable[bool]]) -> None:
    """Wait until something is so."""
    while True:
        if await is_so():
            return
        await asyncio.sleep(0.005)


async def ended(given: MoveCommands, kind: str = IMPORT, bucket: str = "bucket") -> dict[str, Any]:
    """How a move stands once it runs no more."""
    while True:
        status = await given.status(kind=kind, bucket=bucket)
        if not status["running"]:
            return status
        await asyncio.sleep(0.005)


def move(stage: Stage, kind: str, place: str | Path, bucket: str = "bucket", **asked: Any) -> dict[str, Any]:
    """Start a move and follow it."""

    async def run() -> dict[str, Any]:
        given = commands(stage)
        await given.start(kind=kind, bucket=bucket, place=str(place), **asked)
        return await ended(given, kind, bucket)

    answer: dict[str, Any] = stage.run(run())
    return answer


def bring(stage: Stage, place: str | Path, **asked: Any) -> dict[str, Any]:
    return move(stage, IMPORT, place, **asked)


def send(stage: Stage, place: str | Path, **asked: Any) -> dict[str, Any]:
    return move(stage, EXPORT, place, **asked)


def why(answer: dict[str, Any]) -> dict[str, str]:
    """Differences by key."""
    return {one["object_key"]: f"{one['outcome']}: {one['why']}" for one in answer["differences"]}
