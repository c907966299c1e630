"""Why a catalogue refuses a command; it has then changed nothing."""

from storage.errors import CatalogueConflict


class AccountExists(CatalogueConflict):
    """An account of that name is there."""


class NoSuchAccount(CatalogueConflict):
    """No account of that name or id."""


class NoSuchAccessKey(CatalogueConflict):
    """No access key of that id."""


class BucketExists(CatalogueConflict):
    """The name is taken; `owner_id` says by which account."""

    def __init__(self, owner_id: bytes) -> None:
        super().__init__("the bucket name is taken")
        self.owner_id = owner_id


class TooManyBuckets(CatalogueConflict):
    """The account holds as many buckets as it may."""


class NoSuchBucket(CatalogueConflict):
    """No bucket of that name or id (it may have been deleted since it was looked up)."""


class BucketNotEmpty(CatalogueConflict):
    """The bucket holds versions."""


class NoSuchVersion(CatalogueConflict):
    """No object of that key, or no version of that id."""


class PreconditionRefused(CatalogueConflict):
    """A condition of the command does not hold."""


class VersioningChanged(CatalogueConflict):
    """The version id does not fit the bucket's versioning, which was changed meanwhile: look again and try again."""


class LockRefused(CatalogueConflict):
    """A lock holds the version: its retention has not ended, or a legal hold is on."""


class BucketStateRefused(CatalogueConflict):
    """The bucket is not in a state that allows it: locks need versioning, and versioning stays on where locks are."""


class NoSuchUpload(CatalogueConflict):
    """No open upload of that id under that bucket and object key."""


class PartsChanged(CatalogueConflict):
    """A part that Complete names was uploaded again since it was read; read the parts and try again."""


class ContentGone(CatalogueConflict):
    """The content to be shared was released meanwhile."""


class BlobCondemned(CatalogueConflict):
    """The blob id was condemned by sweep before it was published: the write lost and must answer 503."""


class WrapsChanged(CatalogueConflict):
    """The content or envelopes blob is no longer as it was seen: look again and try again."""
