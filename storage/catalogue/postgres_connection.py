"""Connections to PostgreSQL: over verified TLS, with deadlines, to a server that keeps what it commits; its errors.

A server that could lose or roll back what it acknowledged is refused whenever a connection is made, not at start alone:
its settings may change while the gateway runs. No error carries a message of the server's, which may show names.
Sources: PostgreSQL 15 "Database Connection Control Functions", "Write Ahead Log" settings, "Error Codes"; psycopg
"Connection pools".
"""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import psycopg
from psycopg import AsyncConnection, AsyncRawCursor, errors
from psycopg.conninfo import make_conninfo
from psycopg.types.numeric import Int8BinaryDumper
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout, TooManyRequests

from storage.catalogue.address import PostgresAddress
from storage.catalogue.session import id_taken
from storage.errors import CatalogueUnsafe, RowDamaged, StorageError, StorageFull, StorageUnavailable

CONNECT_TIMEOUT_S: Final = 3
LOCK_TIMEOUT_S: Final = 5
"""Longest wait for a lock; whoever gets none is told to try again."""
STATEMENT_TIMEOUT_S: Final = 30
IDLE_IN_TRANSACTION_S: Final = 10
"""A gateway that stands still in a transaction for so long loses it with all its locks, and cannot commit it."""
WAIT_FOR_CONNECTION_S: Final = 5
"""How long a command waits for a connection, while the server restarts for instance."""
MAX_WAITING: Final = 10_000
"""Commands that may wait for a connection; more are refused at once."""
_RECONNECT_S: Final = 2
"""The pool gives an attempt up after that long, and begins anew with the next command; so its pauses stay short."""
_LEAST_VERSION: Final = 13_00_00

_log = logging.getLogger(__name__)


def conninfo(address: PostgresAddress) -> str:
    """Everything that libpq would else look for in the environment or a home is named, so that nothing decides."""
    has_certificate = address.client_certificate is not None
    options = {
        "statement_timeout": STATEMENT_TIMEOUT_S * 1000,
        "lock_timeout": LOCK_TIMEOUT_S * 1000,
        "idle_in_transaction_session_timeout": IDLE_IN_TRANSACTION_S * 1000,
        "plan_cache_mode": "force_generic_plan",
        "enable_seqscan": "off",
        "enable_bitmapscan": "off",
        "jit": "off",
        "default_transaction_isolation": "read\\ committed",
        "search_path": "public",
        "timezone": "UTC",
    }
    given: dict[str, Any] = {
        "host": address.host,
        "port": address.port,
        "dbname": address.database,
        "user": address.user,
        "sslmode": "verify-full",
        "sslrootcert": "system" if address.ca_file is None else str(address.ca_file),
        "ssl_min_protocol_version": "TLSv1.2",
        "sslcertmode": "require" if has_certificate else "disable",
        "gssencmode": "disable",
        "require_auth": "none" if address.password is None else "scram-sha-256",
        "passfile": "/dev/null/none",
        "connect_timeout": CONNECT_TIMEOUT_S,
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": 10_000,
        "application_name": "sealgate",
        "client_encoding": "UTF8",
        "options": " ".join(f"-c {name}={value}" for name, value in options.items()),
    }
    if has_certificate:
        given |= {"sslcert": str(address.client_certificate), "sslkey": str(address.client_key)}
    if address.password is not None:
        given["password"] = address.password
    return make_conninfo("", **given)


Pool = AsyncConnectionPool[AsyncConnection[Any]]

_SETTINGS: Final = ("fsync", "full_page_writes", "synchronous_commit", "server_encoding", "server_version_num")


async def check_server(connection: AsyncConnection[Any]) -> None:
    """See that the server keeps what it commits, and is the one to write to.

    Raises:
        CatalogueUnsafe: it could lose or change what was committed, or is none that this program knows.
        StorageUnavailable: it is a standby.
    """
    asks = ", ".join(f"current_setting('{name}')" for name in _SETTINGS)
    cursor = await connection.execute(f"SELECT pg_is_in_recovery(), current_setting('transaction_read_only'), {asks}")
    row = await cursor.fetchone()
    assert row is not None, "a SELECT without FROM gives a row"
    in_recovery, is_read_only, fsync, full_pages, synchronous, encoding, version = row
    if int(version) < _LEAST_VERSION:
        raise CatalogueUnsafe("PostgreSQL is older than 13: name a newer server in postgres_host")
    for name, value in (("fsync", fsync), ("full_page_writes", full_pages), ("synchronous_commit", synchronous)):
        if value == "off":
            raise CatalogueUnsafe(f"PostgreSQL could lose what it commits: {name} is off; set it on, and restart it")
    if encoding != "UTF8":
        raise CatalogueUnsafe("the database is not in UTF8: make it anew with ENCODING 'UTF8'")
    if in_recovery or is_read_only == "on":
        raise StorageUnavailable("PostgreSQL is a read-only standby, or set to read only: name the primary")


async def _configure(connection: AsyncConnection[Any]) -> None:
    await prepare(connection)
    try:
        await check_server(connection)
    except StorageError as failure:
        _log.error("a connection to PostgreSQL was refused: %s", failure)
        raise


async def prepare(connection: AsyncConnection[Any]) -> None:
    """Give a connection its manners."""
    connection.cursor_factory = AsyncRawCursor
    connection.prepare_threshold = None  # who runs a statement says whether its plan is kept
    connection.prepared_max = 400
    connection.adapters.register_dumper(int, Int8BinaryDumper)


@asynccontextmanager
async def checked_connection(address: PostgresAddress) -> AsyncIterator[AsyncConnection[Any]]:
    """One connection, to a server that was checked. Raises: as `open_pool`."""
    try:
        async with await AsyncConnection.connect(conninfo(address), autocommit=True) as connection:
            await check_server(connection)
            yield connection
    except psycopg.Error as error:
        raise StorageUnavailable(f"{address}: {refusal(error)}") from None


async def open_pool(address: PostgresAddress) -> Pool:
    """Connections to a server that was checked once and answers.

    Raises:
        CatalogueUnsafe, StorageUnavailable: as `check_server`, or it does not let us in.
    """
    async with checked_connection(address):
        pass
    pool: Pool = AsyncConnectionPool(
        conninfo(address),
        kwargs={"autocommit": True},
        min_size=min(2, address.connections),
        max_size=address.connections,
        open=False,
        configure=_configure,
        timeout=WAIT_FOR_CONNECTION_S,
        max_waiting=MAX_WAITING,
        max_lifetime=3600,
        reconnect_timeout=_RECONNECT_S,
        num_workers=2,
        name="catalogue",
    )
    await pool.open()
    return pool


def refusal(error: psycopg.Error) -> str:
    """What a refused connection means, in words that show no secret."""
    text = str(error).lower()
    if "certificate" in text or "ssl" in text or "tls" in text:
        return "TLS with the server failed: see the name in its certificate, postgres_ca_file and client certificate"
    if "authentication" in text or "password" in text or "role" in text:
        return "the server does not let this user in: see postgres_user and postgres_password_file"
    if isinstance(error, errors.InvalidCatalogName) or "does not exist" in text:
        return "there is no such database: make it with createdb, owned by this user"
    return "the server does not answer: see postgres_host and postgres_port"


POOL_FAILURES: Final = (PoolTimeout, PoolClosed, TooManyRequests)
RETRIED: Final = (errors.SerializationFailure, errors.DeadlockDetected)
"""Transactions that only met another one."""


def is_lost(error: BaseException) -> bool:
    """Whether the connection is gone with it."""
    return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) and (
        getattr(error, "sqlstate", None) is None or str(error.sqlstate)[:3] in {"57P", "080", "25P"}
    )


def translate(error: psycopg.Error) -> StorageError:
    """The failure that an error of PostgreSQL means. Messages name the kind and code, never a statement or a value."""
    state = error.sqlstate or ""
    name = type(error).__name__
    if isinstance(error, psycopg.IntegrityError):
        return id_taken()
    if isinstance(error, errors.DiskFull):
        return StorageFull("no space is left for the catalogue")
    if state[:2] == "XX" and state != "XX000":
        return RowDamaged(f"the catalogue's database is damaged ({name} {state})")
    return StorageUnavailable(f"the catalogue does not answer ({name} {state})".rstrip())
