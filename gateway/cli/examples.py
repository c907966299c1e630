"""Examples for the help of the main commands, in one table: a page shows those lines that begin with its command."""

from collections.abc import Iterator
from typing import Any, Final

EXAMPLES: Final = (
    "sealgate serve",
    "sealgate serve --data /srv/sealgate --keys /etc/sealgate-keys --port 443",
    "sealgate serve --host 0.0.0.0 --hosts s3.example.com --config sealgate.toml",
    "sealgate access-key create --account main --env-file client.env",
    "sealgate access-key list --account main",
    "sealgate access-key disable AKIAIOSFODNN7EXAMPLE",
    "sealgate key rotate default",
    "sealgate key rewrap",
    "sealgate key rewrap old-key --to new-key --rate 500",
    "sealgate verify",
    "sealgate verify --journal --anchor anchor.json",
    "sealgate scrub --report scrub.json --max-mb-s 50",
    "sealgate scrub --report scrub.json --resume",
    "sealgate backup /mnt/backup/sealgate",
    "sealgate backup /mnt/backup/sealgate --verify",
    "sealgate recover",
    "sealgate recover --from-blobs",
    "sealgate import /srv/photos --bucket photos",
    "sealgate import s3://old/photos --endpoint https://s3.example.com --credentials aws.env --bucket photos",
    "sealgate import --bucket photos --status",
    "sealgate export /mnt/export --bucket photos --prefix 2026/",
    "sealgate export s3://copy --endpoint https://s3.example.com --credentials aws.env --bucket photos",
    "sealgate migrate --to /mnt/large/blobs",
    "sealgate migrate --to-settings bucket.toml",
    "sealgate migrate --catalogue --config sealgate.toml",
)


def show_examples(path: str, command: Any) -> None:
    """Put its examples below the help of a command, and of those below it; `path` is how it is called."""
    for name, each in _with_those_below(path, command):
        lines = [line for line in EXAMPLES if f"{line} ".startswith(f"{name} ")]
        if lines:
            each.epilog = "\n".join(("\b", "Examples:", *(f"  {line}" for line in lines)))  # \b: lines stay as they are


def _with_those_below(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from _with_those_below(f"{path} {name}", below)
