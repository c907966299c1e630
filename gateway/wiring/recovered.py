"""Opening a realm whose KMS is gone, with a recovery secret: every key that has a copy is wrapped anew.

The new wrapping key is the default one of a local keyring in the keys folder, which is made where there is none. What
lies under keys of that keyring stays as it is, so that a recovery that was cut off is started again and goes on.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from typing import Any

from gateway.config import Settings
from gateway.engine.custody import NOTHING_BESIDES, Custody, Envelope, Unlock, WrappingMode
from gateway.engine.envelopes import EnvelopesBlobs
from gateway.engine.rewrap import Rewrapper, RewrapReport
from gateway.engine.sealing import BlobWriter
from gateway.wiring.folders import Folders
from gateway.wiring.kms import open_keyring
from gateway.wiring.realm import RealmFiles, RealmRecord
from gateway.wiring.stores import open_stores, utc_now
from keys.context import Purpose, WrapContext
from keys.datakey import DataKey, WrappedKey
from keys.deadline import within
from keys.keyring import Keyring, bucket_key_context, content_context
from keys.keyring_file import LocalKeyring
from keys.kms.local import LocalKms
from keys.kms.names import KeyNames
from keys.realm import RealmKeys, create_canary
from keys.recovery import Recipients, RecoverySecret


class _Recovering(Custody):
    """A custody whose rewrap opens the copy instead of asking the KMS that is gone."""

    def __init__(self, kms: LocalKms, keyring: Keyring, realm_id: bytes, recipients: Recipients, **kwargs: Any) -> None:
        super().__init__(keyring, realm_id, WrappingMode.DIRECT, time.monotonic, 1.0, recipients)
        self._new_kms = kms
        self._secret: RecoverySecret = kwargs["secret"]
        self._of_realm = realm_id

    async def rewrap(
        self, bucket_id: bytes, wrap_id: bytes, envelope: Envelope, kms_key_id: str, unlock: Unlock = NOTHING_BESIDES
    ) -> Envelope:
        """See `Custody.rewrap`. Raises: UnwrapFailed where there is no copy for this secret."""
        if envelope.bucket_key is not None:
            context = bucket_key_context(self._of_realm, bucket_id, envelope.bucket_key.bucket_key_id)
            wrapped = await self._wrap(self._secret.open(envelope.copies, context), kms_key_id, context)
            return replace(envelope, bucket_key=replace(envelope.bucket_key, wrapped=wrapped))
        context = content_context(self._of_realm, bucket_id, wrap_id, unlock.context.encode("utf-8"))
        wrapped = await self._wrap(self._secret.open(envelope.copies, context), kms_key_id, context)
        return replace(envelope, wrapped=wrapped)

    async def _wrap(self, data_key: DataKey, kms_key_id: str, context: WrapContext) -> WrappedKey:
        return await within(5.0, self._new_kms.wrap(data_key, kms_key_id, context))


class _RecoveredRealm(RealmFiles):
    """The realm file alone: its copy went with the keys."""

    def __init__(self, folders: Folders, kms: LocalKms, realm: RealmRecord, root: DataKey, deadline_s: float) -> None:
        super().__init__(folders, kms, realm, deadline_s=deadline_s)
        self._root_key = root
        self._new_kms = kms
        self._copied_to = realm.root_copies.ids

    def wrapped(self) -> tuple[WrappedKey, ...]:
        """See `RealmFiles.wrapped`."""
        return self._record.root, self._record.canary

    async def rewrap(self, kms_key_id: str) -> bytes:
        """See `RealmFiles.rewrap`: the root is known."""
        context = WrapContext.for_realm(self.realm_id, Purpose.REALM)
        root = await self._new_kms.wrap(self._root_key, kms_key_id, context)
        canary = await create_canary(self._new_kms, self.realm_id, kms_key_id)
        self._record = replace(self._record, root=root, canary=canary)
        return self.root_part()


class _IntoKeyring:
    """The aim of a recovery: whatever lies under no key of the new keyring."""

    def __init__(self, keyring: LocalKeyring) -> None:
        self._keyring = keyring

    async def target(self, wrapped: WrappedKey, copied_to: frozenset[bytes]) -> str | None:
        """See `Aim.target`."""
        del copied_to
        is_ours = wrapped.provider == LocalKms.provider and wrapped.kms_key_id in self._keyring.kms_key_ids
        return None if is_ours else self._keyring.default_key_id


async def recover_realm(
    settings: Settings, folders: Folders, secret: RecoverySecret, tell: Callable[[dict[str, Any]], None]
) -> RewrapReport:
    """Make the realm of a data folder open with the local keyring again; the caller owns the data folder.

    Raises:
        UnwrapFailed: the secret is no recipient's of this realm. KeyringError, StorageError.
    """
    realm = RealmRecord.read(folders.realm_file)
    realm_keys, root = RealmKeys.recover(secret, realm.root_copies, realm.realm_id)
    realm.check_recipients(realm_keys)
    local = open_keyring(settings, folders, make=True)
    kms = LocalKms(local, KeyNames(settings.region))
    stores = await open_stores(folders, realm_keys)
    try:
        with ThreadPoolExecutor(1) as pool:
            writer = BlobWriter(
                blobs=stores.blobs,
                realm_id=realm.realm_id,
                description_key=realm_keys.description_key.material(),
                hashing_pool=pool,
                inline_max_bytes=0,
            )
            recovered = _RecoveredRealm(folders, kms, realm, root, settings.kms_deadline_s)
            envelopes = EnvelopesBlobs(
                catalogue=stores.catalogue,
                blobs=stores.blobs,
                writer=writer,
                realm_keys=realm_keys,
                root=recovered.root_part,
                clock=utc_now,
            )
            rewrapper = Rewrapper(
                catalogue=stores.catalogue,
                blobs=stores.blobs,
                writer=writer,
                custody=_Recovering(
                    kms,
                    Keyring(kms, time.monotonic),
                    realm.realm_id,
                    Recipients(realm.recipients),
                    secret=secret,
                ),
                envelopes=envelopes,
                realm=recovered,
                holder="owner",
            )
            report = await rewrapper.rewrap(_IntoKeyring(local), progress=lambda so_far: tell(asdict(so_far)))
            if not folders.realm_copy.exists():
                recovered.save()
            return report
    finally:
        await stores.close()
