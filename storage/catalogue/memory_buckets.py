"""Accounts, access keys and buckets of the reference catalogue. Source: `base`."""

from copy import deepcopy
from dataclasses import replace

from storage.catalogue.commands import Lease
from storage.catalogue.conflicts import (
    AccountExists,
    BucketExists,
    BucketNotEmpty,
    BucketStateRefused,
    NoSuchAccessKey,
    NoSuchAccount,
    NoSuchBucket,
    TooManyBuckets,
)
from storage.catalogue.memory_state import MemoryState
from storage.catalogue.records import AccessKey, Account, Bucket, Versioning
from storage.catalogue.rules import check_new_bucket, check_versioning, hash_of
from storage.errors import CatalogueConflict


class MemoryBuckets(MemoryState):
    """Who there is, and the buckets."""

    async def create_account(self, account: Account, access_key: AccessKey | None = None) -> None:
        """See `Catalogue.create_account`."""
        self._check_open()
        if account.account_id in self._accounts or account.name in {held.name for held in self._accounts.values()}:
            raise AccountExists("an account of that name is there")
        if access_key is not None and access_key.access_key_id in self._access_keys:
            raise CatalogueConflict("the access key id is taken")
        if access_key is not None and access_key.account_id != account.account_id:
            raise NoSuchAccount("no account of that id")
        self._accounts[account.account_id] = account
        self._record("create_account")
        if access_key is not None:
            await self.create_access_key(access_key)

    async def get_account(self, account_id: bytes) -> Account:
        """See `Catalogue.get_account`."""
        self._check_open()
        if account_id not in self._accounts:
            raise NoSuchAccount("no account of that id")
        return self._accounts[account_id]

    async def get_account_by_name(self, name: str) -> Account:
        """See `Catalogue.get_account_by_name`."""
        self._check_open()
        for account in self._accounts.values():
            if account.name == name:
                return account
        raise NoSuchAccount("no account of that name")

    async def list_accounts(self) -> tuple[Account, ...]:
        """See `Catalogue.list_accounts`."""
        self._check_open()
        return tuple(sorted(self._accounts.values(), key=lambda account: account.name))

    async def create_access_key(self, access_key: AccessKey) -> None:
        """See `Catalogue.create_access_key`."""
        await self.get_account(access_key.account_id)
        if access_key.access_key_id in self._access_keys:
            raise CatalogueConflict("the access key id is taken")
        self._access_keys[access_key.access_key_id] = access_key
        self._record("create_access_key")

    async def get_access_key(self, access_key_id: str) -> tuple[AccessKey, Account]:
        """See `Catalogue.get_access_key`."""
        self._check_open()
        if access_key_id not in self._access_keys:
            raise NoSuchAccessKey("no access key of that id")
        access_key = self._access_keys[access_key_id]
        return access_key, self._accounts[access_key.account_id]

    async def list_access_keys(self, account_id: bytes) -> tuple[AccessKey, ...]:
        """See `Catalogue.list_access_keys`."""
        await self.get_account(account_id)
        found = [held for held in self._access_keys.values() if held.account_id == account_id]
        return tuple(sorted(found, key=lambda held: (held.created_at, held.access_key_id)))

    async def set_access_key_enabled(self, access_key_id: str, enabled: bool) -> None:
        """See `Catalogue.set_access_key_enabled`."""
        access_key, _ = await self.get_access_key(access_key_id)
        self._access_keys[access_key_id] = replace(access_key, enabled=enabled)
        self._record("set_access_key_enabled")

    async def delete_access_key(self, access_key_id: str) -> None:
        """See `Catalogue.delete_access_key`."""
        await self.get_access_key(access_key_id)
        del self._access_keys[access_key_id]
        self._record("delete_access_key")

    async def create_bucket(self, bucket: Bucket, limit: int) -> None:
        """See `Catalogue.create_bucket`."""
        self._check_open()
        check_new_bucket(bucket)
        for held in self._buckets.values():
            if held.name == bucket.name:
                raise BucketExists(held.account_id)
        await self.get_account(bucket.account_id)
        if sum(held.account_id == bucket.account_id for held in self._buckets.values()) >= limit:
            raise TooManyBuckets("the account holds as many buckets as it may")
        self._buckets[bucket.bucket_id] = deepcopy(bucket)
        self._record("create_bucket")

    async def get_bucket(self, name: str) -> Bucket:
        """See `Catalogue.get_bucket`."""
        self._check_open()
        for bucket in self._buckets.values():
            if bucket.name == name:
                return deepcopy(bucket)
        raise NoSuchBucket("no bucket of that name")

    async def list_buckets(
        self, account_id: bytes, *, prefix: str = "", start_after: str = "", limit: int = 10_000
    ) -> tuple[Bucket, ...]:
        """See `Catalogue.list_buckets`."""
        self._check_open()
        found = [
            bucket
            for bucket in self._buckets.values()
            if bucket.account_id == account_id and bucket.name.startswith(prefix) and bucket.name > start_after
        ]
        return tuple(deepcopy(sorted(found, key=lambda bucket: bucket.name)[:limit]))

    async def delete_bucket(self, bucket_id: bytes) -> None:
        """See `Catalogue.delete_bucket`."""
        self._check_open()
        self._bucket(bucket_id)
        if any(place[0] == bucket_id for place in self._versions):
            raise BucketNotEmpty("the bucket holds versions")
        for upload_id in [key for key, held in self._uploads.items() if held.upload.bucket_id == bucket_id]:
            self._drop_upload(upload_id)
        for place in [place for place in self._documents if place[0] == bucket_id]:
            del self._documents[place]
        del self._buckets[bucket_id]
        self._record("delete_bucket")

    async def set_versioning(self, bucket_id: bytes, status: Versioning) -> None:
        """See `Catalogue.set_versioning`."""
        self._check_open()
        bucket = self._bucket(bucket_id)
        check_versioning(status, bucket.object_lock)
        self._buckets[bucket_id] = replace(bucket, versioning=status)
        self._record("set_versioning")

    async def enable_object_lock(self, bucket_id: bytes) -> None:
        """See `Catalogue.enable_object_lock`."""
        self._check_open()
        bucket = self._bucket(bucket_id)
        if bucket.versioning is not Versioning.ENABLED:
            raise BucketStateRefused("object lock needs versioning")
        if not bucket.object_lock:
            self._buckets[bucket_id] = replace(bucket, object_lock=True)
            self._record("enable_object_lock")

    async def put_configuration(
        self, bucket_id: bytes, kind: str, document: bytes | None, lease: Lease | None = None
    ) -> None:
        """See `Catalogue.put_configuration`."""
        self._check_open()
        if lease is not None:
            self._require_lease(lease)
        bucket = self._bucket(bucket_id)
        hashes = {held: name for held, name in bucket.configurations.items() if held != kind}
        if document is not None:
            hashes[kind] = hash_of(document)
            self._documents[bucket_id, kind] = document
        elif self._documents.pop((bucket_id, kind), None) is None:
            return
        self._buckets[bucket_id] = replace(bucket, configurations=hashes)
        self._record("put_configuration")

    async def get_configuration(self, bucket_id: bytes, kind: str) -> bytes | None:
        """See `Catalogue.get_configuration`."""
        self._check_open()
        self._bucket(bucket_id)
        return self._documents.get((bucket_id, kind))
