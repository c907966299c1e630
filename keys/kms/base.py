"""The contract that every key management service keeps, and what it says of its wrapping keys.

Source: docs/decisions/0002-wrapping-record.md; states as AWS KMS names them ("Key states of AWS KMS keys").
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol, runtime_checkable

from keys.context import WrapContext
from keys.datakey import DataKey, WrappedKey
from keys.errors import KmsKeyDisabled, KmsKeyInvalidState


class KeyState(StrEnum):
    """Whether a wrapping key may be used. Only `ENABLED` wraps and unwraps."""

    ENABLED = "enabled"
    DISABLED = "disabled"
    PENDING_DELETION = "pending-deletion"
    DESTROYED = "destroyed"

    @property
    def is_usable(self) -> bool:
        """Whether the key wraps and unwraps."""
        return self is KeyState.ENABLED


@dataclass(frozen=True, slots=True)
class KeyDescription:
    """What may be told of a wrapping key. `version` is the one that wraps now; `created_at` is aware UTC or unknown."""

    kms_key_id: str
    arn: str
    state: KeyState
    created_at: datetime | None
    version: str
    aliases: tuple[str, ...] = ()


def check_usable(state: KeyState) -> None:
    """Let only enabled keys wrap and unwrap.

    Raises:
        KmsKeyDisabled, KmsKeyInvalidState: by the state.
    """
    if state.is_usable:
        return
    if state is KeyState.DISABLED:
        raise KmsKeyDisabled("the wrapping key is disabled")
    raise KmsKeyInvalidState(f"the wrapping key is in state {state.value}")


@runtime_checkable
class RotatingKms(Protocol):
    """A `Kms` that gives a wrapping key a new version when asked to; whether one does is asked by `isinstance`."""

    async def rotate(self, kms_key_id: str | None) -> KeyDescription:
        """Let a new version wrap from now on, durably; what older ones wrapped still opens. Raises: as `Kms`."""


@runtime_checkable
class PromptKms(Protocol):
    """A `Kms` in this process, which moves a key without waiting for anybody; asked for by `isinstance`.

    A job over millions of wraps spends more on deadlines and turns of the loop than on such a move itself.
    """

    def move(self, wrapped: WrappedKey, context: WrapContext, kms_key_id: str | None) -> WrappedKey | None:
        """What `Kms.rewrap` gives, proved by `Kms.unwrap` of it; None where it takes waiting. Raises: as they do."""


class Kms(Protocol):
    """Wraps data keys; lives in another trust zone.

    Rules for every method: it never blocks the event loop; it may be called from many tasks at once; it may be
    cancelled at any await; it keeps no key it was given or gave; it retries nothing on its own beyond its client's
    bounded habit (the caller sets the deadline). `kms_key_id` is the provider's id, alias or ARN; `None` means the
    default wrapping key. Errors outside the `KeysError` tree are bugs.

    All methods raise, besides what they name:
        KmsUnavailable: not reached, throttled, sealed, or answering what is not an answer. May be tried again.
        KmsDenied: the KMS refuses this identity.
        KmsKeyNotFound: no wrapping key has that id, alias or version.
        KmsKeyDisabled: the wrapping key is switched off.
        KmsKeyInvalidState: the wrapping key is pending deletion, destroyed, or cannot wrap.
    """

    @property
    def provider(self) -> str:
        """The name that stands in the wrapped keys of this provider; never changed once used."""

    async def generate(self, kms_key_id: str | None, context: WrapContext) -> tuple[DataKey, WrappedKey]:
        """A fresh random data key, and the same wrapped under the current version of the wrapping key."""

    async def wrap(self, data_key: DataKey, kms_key_id: str | None, context: WrapContext) -> WrappedKey:
        """Wrap a given data key. Two wraps of one key share no bytes that tell so.

        The result names the id (never an alias) and version that wrapped it, so it opens after the alias moves.
        """

    async def unwrap(self, wrapped: WrappedKey, context: WrapContext) -> DataKey:
        """The data key, only under the context it was wrapped with.

        Raises:
            UnwrapFailed: another provider's, altered, another context, another wrapping key, or a KMS that gave back
                a wrong, short, zero or repeated key. Nothing else is tried; never retried.
        """

    async def rewrap(self, wrapped: WrappedKey, context: WrapContext, kms_key_id: str | None) -> WrappedKey:
        """The same data key under the current version of another (or the same) wrapping key.

        The data key itself is never opened, and the old wrapped key stays usable. The context is handed to providers
        that bind it themselves; a wrong one never yields a wrapped key that opens under it.

        Raises:
            UnwrapFailed: another provider's, or the KMS's own part of it does not authenticate.
        """

    async def describe(self, kms_key_id: str | None) -> KeyDescription:
        """What the KMS tells of a wrapping key, whatever its state (so no error for disabled ones)."""

    async def health(self) -> None:
        """Return if the KMS answers and the default wrapping key may be used; raise the error a wrap would.

        Called every half minute or so, which is also when a login that ends soon is renewed.
        """

    async def prove(self) -> None:
        """See at start that the default key is fit to hold keys, and have it wrap and unwrap one.

        Raises:
            KmsMisconfigured: it forgets its keys at a restart, gives them out, or its key is one that anybody knows.
            UnwrapFailed: it does not give back what it wrapped.
        """

    async def close(self) -> None:
        """Let go of connections and threads; nothing may be asked afterwards."""
