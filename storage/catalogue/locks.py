"""What a command must hold until its transaction ends, where several can run at once: names and ids, no rows.

What is held need not be there yet, as the key of a new object, and many can share a bucket without anybody writing to
its row. Two names of one hash wait for each other and no more.
"""

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Lock:
    """One name, held alone or together with others who share it."""

    rank: int
    """Locks are taken by rank, then place, so that commands with several do not wait for each other in a ring."""
    place: tuple[bytes, ...]
    is_shared: bool = False

    @property
    def number(self) -> int:
        """A signed number of 64 bits that stands for the place."""
        text = b"".join(len(part).to_bytes(4) + part for part in (bytes((self.rank,)), *self.place))
        return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), signed=True)


def of_account(account_id: bytes) -> Lock:
    """For commands that count or add what an account has."""
    return Lock(0, (account_id,))


def of_name(name: str) -> Lock:
    """For commands that give a name which must be free: of an account, an access key or a bucket."""
    return Lock(1, (name.encode(),))


def of_bucket(bucket_id: bytes) -> Lock:
    """For commands that change a bucket itself."""
    return Lock(2, (bucket_id,))


def in_bucket(bucket_id: bytes) -> Lock:
    """For commands that need a bucket to stay as it is."""
    return Lock(2, (bucket_id,), is_shared=True)


def of_object(bucket_id: bytes, object_key: bytes) -> tuple[Lock, Lock]:
    """For commands that change what stands under an object key, of a bucket that must stay as it is."""
    return in_bucket(bucket_id), Lock(3, (bucket_id, object_key))


def of_upload(upload_id: bytes) -> Lock:
    """For commands that change an upload or its parts."""
    return Lock(4, (upload_id,))


def of_job(name: str) -> Lock:
    """For commands around a lease or a cursor, which go in line by nature."""
    return Lock(5, (name.encode(),))


def under_job(name: str) -> Lock:
    """For commands that need a lease to stay as it is."""
    return Lock(5, (name.encode(),), is_shared=True)
