"""A webhook that writes down what it is sent, and fails when it is told to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.engine.webhooks import DeliveryFailed, TrialUnderWay


@dataclass
class Hook:
    """Stands in for `gateway.engine.webhooks.Webhook`."""

    name: str
    sent: list[Mapping[str, Any]] = field(default_factory=list)
    failure: DeliveryFailed | None = None
    is_on_trial: bool = False

    async def send(self, message: Mapping[str, Any]) -> None:
        if self.failure is not None:
            raise self.failure
        self.sent.append(message)

    async def try_out(self, message: Mapping[str, Any]) -> None:
        if self.is_on_trial:
            raise TrialUnderWay
        await self.send(message)

    @property
    def events(self) -> list[tuple[str, str]]:
        """(event, key) of every record."""
        records = [record for message in self.sent for record in message.get("Records", [])]
        return [(record["eventName"], record["s3"]["object"]["key"]) for record in records]
