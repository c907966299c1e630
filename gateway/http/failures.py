"""From any failure to the S3 error that a client may see, and what the operator is told besides: one table.

Source: STYLE.md section 6. The most specific class of a tree decides; what is in no tree is a defect, answered with
InternalError and logged without messages, which might quote what they met.
"""

import logging
from dataclasses import dataclass
from enum import Enum, auto

from gateway.engine.journal.chain import CatalogueBehind
from gateway.s3.errors import (
    ACCESS_DENIED,
    INSUFFICIENT_STORAGE,
    INTERNAL_ERROR,
    INVALID_BUCKET_STATE,
    KMS_DISABLED,
    KMS_INVALID_STATE,
    KMS_NOT_FOUND,
    NO_SUCH_BUCKET,
    SERVICE_UNAVAILABLE,
    ErrorRow,
    S3Error,
)
from gateway.telemetry import RequestRecord, Telemetry
from keys import errors as keys
from storage import errors as storage
from storage.catalogue import conflicts

_LOG = logging.getLogger(__name__)

_RETRY_AFTER_S = "2"


class _Tell(Enum):
    """What the operator learns."""

    NOTHING = auto()
    LOG = auto()
    ALARM = auto()
    KMS = auto()
    KMS_REFUSED = auto()
    DEFECT = auto()


@dataclass(frozen=True, slots=True)
class _Verdict:
    row: ErrorRow
    tell: _Tell


_VERDICTS: dict[type[BaseException], _Verdict] = {
    storage.StorageUnavailable: _Verdict(SERVICE_UNAVAILABLE, _Tell.LOG),
    storage.StorageFull: _Verdict(INSUFFICIENT_STORAGE, _Tell.LOG),
    storage.BlobMissing: _Verdict(INTERNAL_ERROR, _Tell.ALARM),
    storage.BlobReadFailed: _Verdict(INTERNAL_ERROR, _Tell.ALARM),
    storage.Damaged: _Verdict(INTERNAL_ERROR, _Tell.ALARM),
    storage.RealmMismatch: _Verdict(INTERNAL_ERROR, _Tell.ALARM),
    storage.CatalogueBusy: _Verdict(SERVICE_UNAVAILABLE, _Tell.LOG),
    CatalogueBehind: _Verdict(SERVICE_UNAVAILABLE, _Tell.LOG),
    # Conflicts belong to the operations; these are races that any write can lose between admission and commit.
    conflicts.NoSuchBucket: _Verdict(NO_SUCH_BUCKET, _Tell.NOTHING),
    conflicts.BlobCondemned: _Verdict(SERVICE_UNAVAILABLE, _Tell.LOG),
    conflicts.ContentGone: _Verdict(SERVICE_UNAVAILABLE, _Tell.LOG),
    conflicts.PartsChanged: _Verdict(SERVICE_UNAVAILABLE, _Tell.LOG),
    conflicts.BucketStateRefused: _Verdict(INVALID_BUCKET_STATE, _Tell.NOTHING),
    conflicts.VersioningChanged: _Verdict(SERVICE_UNAVAILABLE, _Tell.LOG),
    keys.KmsUnavailable: _Verdict(SERVICE_UNAVAILABLE, _Tell.KMS),
    keys.KmsDenied: _Verdict(ACCESS_DENIED, _Tell.KMS_REFUSED),
    keys.KmsMisconfigured: _Verdict(SERVICE_UNAVAILABLE, _Tell.KMS),
    keys.KmsKeyNotFound: _Verdict(KMS_NOT_FOUND, _Tell.KMS),
    keys.KmsKeyDisabled: _Verdict(KMS_DISABLED, _Tell.KMS),
    keys.KmsKeyInvalidState: _Verdict(KMS_INVALID_STATE, _Tell.KMS),
    keys.CustomerKeyMismatch: _Verdict(ACCESS_DENIED, _Tell.NOTHING),
    keys.UnwrapFailed: _Verdict(INTERNAL_ERROR, _Tell.ALARM),
    keys.CanaryFailed: _Verdict(INTERNAL_ERROR, _Tell.ALARM),
}
_DEFECT = _Verdict(INTERNAL_ERROR, _Tell.DEFECT)


def as_s3_error(error: Exception, telemetry: Telemetry, record: RequestRecord) -> S3Error:
    """Translate a failure, and tell the operator what a client must not know."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    if isinstance(error, S3Error):
        return error
    verdict = next((_VERDICTS[kind] for kind in type(error).__mro__ if kind in _VERDICTS), _DEFECT)
    _tell(verdict.tell, error, telemetry, record)
    headers = {"Retry-After": _RETRY_AFTER_S} if verdict.row.status == SERVICE_UNAVAILABLE.status else None
    return S3Error(verdict.row, headers=headers)


def _tell(tell: _Tell, error: Exception, telemetry: Telemetry, record: RequestRecord) -> None:
    kind = type(error).__name__
    match tell:
        case _Tell.NOTHING:
            return
        case _Tell.ALARM:
            telemetry.alarm(kind, record, error=error)
        case _Tell.KMS | _Tell.KMS_REFUSED:
            telemetry.kms_failed(kind, record, refused=tell is _Tell.KMS_REFUSED)
        case _Tell.DEFECT:
            telemetry.unexpected_errors.inc()
    _LOG.error(
        "request failed",
        exc_info=error,
        extra={"fields": {"request_id": record.request_id, "operation": record.operation, "kind": kind}},
    )
