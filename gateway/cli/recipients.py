"""Recovery recipients: what the command line and the control socket do with them."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from gateway.cli.control import Answer
from gateway.cli.exits import CommandError
from gateway.wiring.key_life import KeyLife
from keys.recovery import MAX_RECIPIENTS, Recipient, public_of


@dataclass(frozen=True, slots=True)
class RecoveryRecipients:
    """Commands over the recipients of one realm."""

    life: KeyLife
    now: Callable[[], datetime]

    async def add(self, name: str, public: str) -> Answer:
        """Add one; it gets the realm root at once, all else by the next rewrap. Raises: CommandError, KeysError."""
        recipient = Recipient(name, public_of(public), self.now().replace(microsecond=0))
        held = self.life.recipients
        if any(recipient.public == each.public or name == each.name for each in held):
            raise CommandError("that key or that name is a recipient already: see `sealgate recovery list`")
        if len(held) >= MAX_RECIPIENTS:
            raise CommandError(f"there are {MAX_RECIPIENTS} recipients, as many as there can be: remove one first")
        await self.life.set_recipients((*held, recipient))
        return _shown(recipient)

    async def list(self) -> Answer:
        """All of them, in the order in which they came."""
        return {"recipients": [_shown(each) for each in self.life.recipients]}

    async def remove(self, name: str) -> Answer:
        """Copy nothing more to one. Raises: CommandError, KeysError."""
        held = self.life.recipients
        gone = next((each for each in held if each.name == name), None)
        if gone is None:
            raise CommandError(f"there is no recipient {name[:64]!r}: see `sealgate recovery list`")
        await self.life.set_recipients(tuple(each for each in held if each is not gone))
        return _shown(gone)


def _shown(recipient: Recipient) -> Answer:
    return {
        "name": recipient.name,
        "public": recipient.text,
        "recipient_id": recipient.recipient_id.hex(),
        "added_at": recipient.added_at.isoformat(),
    }
