"""Where a PostgreSQL catalogue is: known also where the client for PostgreSQL is not installed."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class PostgresAddress:
    """Where the database is, and what proves server and client to each other."""

    host: str
    """The name or address that the server's certificate must carry."""
    port: int
    database: str
    user: str
    password: str | None = field(default=None, repr=False)
    """For SCRAM; None where the client certificate stands for the user."""
    ca_file: Path | None = None
    """PEM; None for the system's authorities."""
    client_certificate: Path | None = None
    client_key: Path | None = None
    connections: int = 8
    """Connections of this process at most."""

    def __str__(self) -> str:
        """As an operator would name it."""
        return f"database {self.database} on {self.host}:{self.port}"
