"""Statements on their way to PostgreSQL and back: any number of them in one round trip, each prepared once.

psycopg connects, pools, waits and knows the errors; its own pipelines flush and wait after every statement, which over
TLS cost twice as much again as the statements themselves. Values are of five types and travel in binary. Sources:
PostgreSQL 15 "Pipeline Mode", "Message Formats"; psycopg "psycopg.pq".
"""

import struct
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Final, cast
from weakref import WeakKeyDictionary

from psycopg import AsyncConnection, errors
from psycopg.adapt import Transformer
from psycopg.generators import fetch_many, send
from psycopg.pq import ExecStatus, Format

Statement = tuple[str, Sequence[Any]]
"""SQL with `?` for its values, and these."""

_KEPT_AT_MOST: Final = 500
"""Prepared statements of one connection; there are fewer than that in this program."""
_INT8 = struct.Struct(">q").pack
_OIDS: Final = {int: 20, bytes: 17, str: 25, bool: 16}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a statement gave."""

    count: int
    """Rows that it met or gave."""
    rows: list[tuple[Any, ...]]


@cache
def _numbered(statement: str) -> tuple[bytes, bool]:
    """A statement with `$1`, `$2` ... for its `?`, and whether it is prepared: not where it names a cursor."""
    first, *others = statement.split("?")
    text = first + "".join(f"${number}{text}" for number, text in enumerate(others, start=1))
    is_kept = text.startswith(("SELECT", "INSERT", "UPDATE", "DELETE", "BEGIN", "COMMIT", "ROLLBACK"))
    return text.encode(), is_kept


def _packed(value: Any) -> bytes | None:
    """A value in PostgreSQL's binary form."""
    kind = type(value)
    if kind is bytes or value is None:
        return cast("bytes | None", value)
    if kind is int:
        return _INT8(value)
    if kind is bool:
        return b"\1" if value else b"\0"
    return str(value).encode()  # also of enumerations, whose value is a text


def _oid(value: Any) -> int:
    return 0 if value is None else _OIDS.get(type(value), _OIDS[str])


class Wire:
    """One connection's way to the server."""

    _of: ClassVar[WeakKeyDictionary[AsyncConnection[Any], "Wire"]] = WeakKeyDictionary()

    def __init__(self, connection: AsyncConnection[Any]) -> None:
        self._connection = connection
        self._transformer = Transformer(connection)
        self._names: dict[bytes, bytes] = {}
        self._count = 0

    @classmethod
    def of(cls, connection: AsyncConnection[Any]) -> "Wire":
        """The one of a connection, with what was prepared on it before."""
        wire = cls._of.get(connection)
        if wire is None:
            wire = cls._of[connection] = cls(connection)
        return wire

    async def travel(self, statements: Sequence[Statement]) -> list[Answer]:
        """Run statements in their order in one round trip; after one that fails none is run.

        Raises: psycopg.Error, that of the first that failed.
        """
        return await self._connection.wait(self._travel(statements))

    def _travel(self, statements: Sequence[Statement]) -> Generator[Any, Any, list[Answer]]:
        pgconn = self._connection.pgconn
        fresh: list[bytes] = []
        pgconn.enter_pipeline_mode()
        expects = [command for statement in statements for command in self._send(statement, fresh)]
        pgconn.pipeline_sync()
        yield from send(pgconn)
        answers: list[Answer] = []
        failure: Exception | None = None
        for is_answer in expects:
            (result,) = yield from fetch_many(pgconn)
            if result.status == ExecStatus.FATAL_ERROR:
                failure = failure or errors.error_from_result(result)
            elif is_answer and failure is None and result.status != ExecStatus.PIPELINE_ABORTED:
                answers.append(self._answer(result))
        yield from fetch_many(pgconn)  # of the sync
        pgconn.exit_pipeline_mode()
        if failure is not None:
            for text in fresh:  # they may not have been prepared; under another name they will be
                self._names.pop(text, None)
            raise failure
        return answers

    def _send(self, statement: Statement, fresh: list[bytes]) -> list[bool]:
        """Queue a statement; for each answer to come, whether it is the statement's own."""
        pgconn = self._connection.pgconn
        (text, is_kept), values = _numbered(statement[0]), statement[1]
        packed = [_packed(value) for value in values]
        formats = [Format.BINARY] * len(packed)
        if not is_kept:
            pgconn.send_query_params(text, packed, [_oid(value) for value in values], formats, Format.BINARY)
            return [True]
        name = self._names.get(text)
        is_new = name is None
        if name is None:
            assert len(self._names) < _KEPT_AT_MOST, "statements are texts of this program, not made of values"
            self._count += 1
            name = self._names[text] = b"s%d" % self._count
            fresh.append(text)
            pgconn.send_prepare(name, text, [_oid(value) for value in values])
        pgconn.send_query_prepared(name, packed, formats, Format.BINARY)
        return [False, True] if is_new else [True]

    def _answer(self, result: Any) -> Answer:
        if result.status == ExecStatus.TUPLES_OK:
            self._transformer.set_pgresult(result, format=Format.BINARY)
            return Answer(result.ntuples, self._transformer.load_rows(0, result.ntuples, tuple))
        return Answer(result.command_tuples or 0, [])
