"""The families of commands in one table, each loaded when it is called: `key list` pays for nothing of `bench`.

Source: Click's documentation, "Lazily Loading Subcommands".
"""

from collections.abc import Iterator, MutableMapping
from importlib import import_module
from typing import Any, Final

import typer
from typer.core import TyperGroup
from typer.main import get_group

from gateway.cli.examples import show_examples

SECTIONS: Final = {
    "Serve": {
        "serve": ("serve", "Serve S3 over HTTPS."),
        "check": ("check.command", "Look whether the gateway can serve here."),
        "bench": ("bench.command", "Measure what this machine gives, and what limits it."),
    },
    "Who may sign": {
        "account": ("accounts", "Accounts: each owns buckets of its own."),
        "access-key": ("accounts", "Access keys: what clients of an account sign with."),
    },
    "Keys": {
        "key": ("keys", "Wrapping keys: rotation, rewrap, retirement."),
        "recovery": ("recovery", "Offline keys for the day when the KMS is gone."),
    },
    "Look after what is stored": {
        "verify": ("verify", "Check every row of the catalogue."),
        "scrub": ("scrub", "Read every blob of the store and prove it."),
        "sweep": ("sweep", "Remove blobs that nothing refers to."),
        "anchor": ("journal", "The signed head of the journal, to be kept elsewhere."),
        "snapshot": ("journal", "Take a snapshot of the catalogue now."),
    },
    "Back up and recover": {
        "backup": ("backup", "Copy what the catalogue is made of to a folder."),
        "restore": ("backup", "Put a backup back, and rebuild the catalogue."),
        "recover": ("recover", "Rebuild the catalogue from keyring and blob store."),
        "unseal": ("offline", "Open one blob, or a whole store, without a gateway."),
        "inspect": ("offline", "Show what a sealed blob is."),
    },
    "Move in and out": {
        "import": ("moving", "Bring a folder or another S3 bucket into a bucket."),
        "export": ("moving", "Write a bucket, opened, to a folder or another S3."),
        "migrate": ("migrate", "Move the blobs, or the catalogue, to another place."),
    },
    "About": {
        "settings": ("settings", "Show every setting and its value."),
        "version": ("version", "Print the version."),
    },
}
"""Every command or group below `sealgate` under what it is for: the module of this package that registers it, and its
line in the help."""

FAMILIES: Final = {name: row for section in SECTIONS.values() for name, row in section.items()}


class Families(TyperGroup):
    """The root of the command line."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = _Loaded(self.commands)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """List the families by the table, and load none of them."""
        del ctx
        width = max(map(len, FAMILIES))
        for title, section in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), text) for name, (_, text) in section.items()])


class _Loaded(MutableMapping[str, Any]):
    """The commands by name, in the order of the table; looking at one loads its module."""

    def __init__(self, registered: MutableMapping[str, Any]) -> None:
        assert not registered, "what stands beside the table would not be listed"
        self._held: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._held:
            family = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
            import_module(f"gateway.cli.{FAMILIES[name][0]}").register(family)
            commands = get_group(family).commands
            for registered, command in commands.items():
                show_examples(f"sealgate {registered}", command)
            self._held |= commands
        return self._held[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._held[name] = command

    def __delitem__(self, name: str) -> None:
        del self._held[name]

    def __iter__(self) -> Iterator[str]:
        return iter(FAMILIES)

    def __len__(self) -> int:
        return len(FAMILIES)
