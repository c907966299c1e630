"""Several KMSs at once: what was wrapped goes to the one that wrapped it, a key that is named to who offers it.

An id, alias or ARN that names keys of two KMSs names none. Source: AWS KMS "Key identifiers"; `keys.kms.names`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from keys.context import WrapContext
from keys.datakey import DataKey, WrappedKey
from keys.errors import KmsKeyNotFound, KmsMisconfigured
from keys.kms.base import KeyDescription, Kms, PromptKms, RotatingKms
from keys.kms.binding import RecordKms
from keys.kms.local import LocalKms
from keys.kms.names import KeyNames

LOCAL_PROVIDER: Final = LocalKms.provider

FOUND_S: Final = 1.0
MAX_FOUND: Final = 256
"""How long, and of how many names, a job is told without asking anew which KMS alone has a key of that name."""


@dataclass(slots=True)
class Route:
    """One KMS, and the ids of the keys of it that may be named; `None`: whichever it has itself."""

    kms: RecordKms
    names: KeyNames
    offers: frozenset[str] | None
    prove: Callable[[RecordKms], Awaitable[None]]
    """Awaited once before anything is wrapped; raises where the KMS is not fit, or not the one that it was."""
    is_proved: bool = False
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    prompt: PromptKms | None = field(init=False)
    """The KMS where it moves keys at once."""

    def __post_init__(self) -> None:
        self.prompt = self.kms if isinstance(self.kms, PromptKms) else None

    async def find(self, name: str) -> str | None:
        """The id that a name means here, or None. A KMS that is told what it offers is not asked."""
        try:
            plain = self.names.plain(name)
            if self.offers is None:
                return (await self.kms.describe(plain)).kms_key_id
        except KmsKeyNotFound:
            return None
        return plain if plain in self.offers else None

    async def proved(self) -> RecordKms:
        """The KMS, once it is proved. Raises: KeysError."""
        if not self.is_proved:
            async with self.lock:
                await self._prove_once()
        return self.kms

    async def _prove_once(self) -> None:
        if not self.is_proved:
            await self.prove(self.kms)
            self.is_proved = True


class RoutingKms:
    """`Kms`, `RotatingKms` and `PromptKms` over several; `clock` is monotonic, in seconds.

    `default` is the provider whose default key wraps what names no key.
    """

    def __init__(self, routes: Sequence[Route], default: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._routes: Mapping[str, Route] = {route.kms.provider: route for route in routes}
        self._default = default
        self._clock = clock
        self._found: dict[str, tuple[Route, str, float]] = {}

    @property
    def routes(self) -> tuple[Route, ...]:
        """All of them, the default one first."""
        default = self._routes[self._default]
        return default, *(route for route in self._routes.values() if route is not default)

    @property
    def provider(self) -> str:
        """See `Kms.provider`; that of the default."""
        return self._default

    async def generate(self, kms_key_id: str | None, context: WrapContext) -> tuple[DataKey, WrappedKey]:
        """See `Kms.generate`."""
        route, name = await self._route(kms_key_id)
        return await (await route.proved()).generate(name, context)

    async def wrap(self, data_key: DataKey, kms_key_id: str | None, context: WrapContext) -> WrappedKey:
        """See `Kms.wrap`."""
        route, name = await self._route(kms_key_id)
        return await (await route.proved()).wrap(data_key, name, context)

    async def unwrap(self, wrapped: WrappedKey, context: WrapContext) -> DataKey:
        """See `Kms.unwrap`. Raises KmsKeyNotFound for a provider that is not set up (any more)."""
        return await self._maker(wrapped).unwrap(wrapped, context)

    async def rewrap(self, wrapped: WrappedKey, context: WrapContext, kms_key_id: str | None) -> WrappedKey:
        """See `Kms.rewrap`. From one KMS to another K passes through this process, the data key does not."""
        source = self._maker(wrapped)
        route, name = await self._route(kms_key_id)
        target = await route.proved()
        if target is source:
            return await target.rewrap(wrapped, context, name)
        return await target.take_over(wrapped, source, context, name)

    def move(self, wrapped: WrappedKey, context: WrapContext, kms_key_id: str | None) -> WrappedKey | None:
        """See `PromptKms.move`. At once within one KMS that does so, for a name that was found a moment ago."""
        route, name, until = self._found.get(kms_key_id or "", (None, "", 0.0))
        if route is None or route is not self._routes.get(wrapped.provider) or self._clock() >= until:
            return None
        return route.prompt.move(wrapped, context, name) if route.is_proved and route.prompt is not None else None

    async def rotate(self, kms_key_id: str | None) -> KeyDescription:
        """See `RotatingKms.rotate`. Raises KmsMisconfigured where the key is rotated in its KMS."""
        route, name = await self._route(kms_key_id)
        if not isinstance(route.kms, RotatingKms):
            raise KmsMisconfigured(f"the KMS {route.kms.provider} rotates its keys itself: do it there, then rewrap")
        return await route.kms.rotate(name)

    async def describe(self, kms_key_id: str | None) -> KeyDescription:
        """See `Kms.describe`."""
        route, name = await self._route(kms_key_id)
        return await route.kms.describe(name)

    async def health(self) -> None:
        """See `Kms.health`; of the default."""
        await self._routes[self._default].kms.health()

    async def probe(self) -> None:
        """Ask each for its health, at once; what comes of it is told by their watches."""
        await asyncio.gather(*(route.kms.health() for route in self.routes), return_exceptions=True)

    async def prove(self) -> None:
        """See `Kms.prove`; of all. Raises: KeysError of the first that fails."""
        for route in self.routes:
            await route.proved()

    async def close(self) -> None:
        """See `Kms.close`; of all."""
        await asyncio.gather(*(route.kms.close() for route in self.routes), return_exceptions=True)

    def _maker(self, wrapped: WrappedKey) -> RecordKms:
        route = self._routes.get(wrapped.provider)
        if route is None:
            raise KmsKeyNotFound(
                f"no KMS named {wrapped.provider} is set up, and one wrapped this: name it in kms_file"
            )
        return route.kms

    async def _route(self, kms_key_id: str | None) -> tuple[Route, str | None]:
        if kms_key_id is None:
            return self._routes[self._default], None
        asked_at = self._clock()
        found = [(route, name) for route in self.routes if (name := await route.find(kms_key_id)) is not None]
        if len(found) > 1:
            names = " and ".join(route.kms.provider for route, _ in found)
            raise KmsKeyNotFound(f"that names a key of {names}: name it by its ARN")
        if not found:
            raise KmsKeyNotFound("no KMS here offers a wrapping key of that name")
        if len(self._found) >= MAX_FOUND:
            self._found.clear()
        self._found[kms_key_id] = *found[0], asked_at + FOUND_S
        return found[0]


def local_kms(kms: Kms) -> LocalKms | None:
    """The local keyring's KMS, alone or among others; None where there is none."""
    if isinstance(kms, RoutingKms):
        return next((route.kms for route in kms.routes if isinstance(route.kms, LocalKms)), None)
    return kms if isinstance(kms, LocalKms) else None


def providers_of(kms: Kms) -> tuple[RecordKms, ...]:
    """Every provider behind a KMS."""
    if isinstance(kms, RoutingKms):
        return tuple(route.kms for route in kms.routes)
    return (kms,) if isinstance(kms, RecordKms) else ()
