"""What Sealgate says of itself: log lines, counters and audit events, with redaction in this one place.

Secrets, presigned queries, tokens, user metadata and object data never reach a line; object names appear as keyed
HMAC ids unless the operator opts in. Sources: FAULTS.md part 1 "cross-cutting decisions", Prometheus naming practice.
"""

import hashlib
import hmac
import json
import logging
import os
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TextIO

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from keys.errors import KeysError
from storage.catalogue.commands import CatalogueStatistics
from storage.errors import CatalogueConflict, StorageError

Field = str | int | float | bool | None

ACCESS_LOG = logging.getLogger("sealgate.access")
AUDIT_LOG = logging.getLogger("sealgate.audit")

DAMAGE_KINDS: Final = (
    *("BlobMissing", "BlobReadFailed", "SealedDamaged", "RowDamaged", "RealmMismatch"),
    *("UnwrapFailed", "CanaryFailed", "canary", "KeyringError", "CatalogueBehind"),
)
"""Kinds that are shown from the start as 0: an alert on an increase misses a counter that is born with its first."""

_REDACTED = "[redacted]"

_SECRET_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    # The whole presigned query goes: its signature is a credential as long as it lives.
    (
        re.compile(r"\?[^\s\"']*(?:X-Amz-Signature|X-Amz-Credential|[?&]Signature)=[^\s\"']*", re.IGNORECASE),
        "?[redacted]",
    ),
    (
        re.compile(
            r"\b(X-Amz-(?:Signature|Security-Token|Credential)|AWSAccessKeyId|Signature)=[^\s&,\"']+", re.IGNORECASE
        ),
        r"\1=[redacted]",
    ),
    (
        re.compile(
            r"\b(authorization|proxy-authorization|cookie|x-amz-security-token|x-vault-token|x-amz-meta-[\w-]+"
            r"|x-amz-tagging|x-amz-[\w-]*customer-key(?:-md5)?)\b(['\"]?\s*[:=,]\s*)[^\r\n]*",
            re.IGNORECASE,
        ),
        r"\1\2[redacted]",
    ),
    (re.compile(r"\b(AWS4-HMAC-SHA256|AWS4-ECDSA-P256-SHA256|Bearer|Basic)\s+\S[^\r\n]*"), r"\1 [redacted]"),
    (re.compile(r"\bAWS [\w/+=.-]+:[\w/+=]+"), "AWS [redacted]"),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), _REDACTED),
)

_HARMLESS = re.compile(r"[^\s=:,]*")
"""What none of the patterns can find: each asks for one of these. Most of a line's fields are ids and names."""


def redact(text: str) -> str:
    """Return text without what looks like a credential or user metadata.

    This is the net below, not the rule: nothing is to be logged that needs it.
    """
    if _HARMLESS.fullmatch(text):
        return text
    for pattern, replacement in _SECRET_PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def describe_error(error: BaseException) -> str:
    """Type and frames of an error and of its causes, without values.

    A message of an unexpected error may quote what it met: a key, a name, a header. So messages are shown only of the
    trees that promise to hold none of it, and of the operating system. Frames name only code.
    """
    lines: list[str] = []
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        lines.append(f"{type(current).__module__}.{type(current).__qualname__}{_safe_message(current)}")
        lines += [
            f"  {frame.filename}:{frame.lineno} in {frame.name}"
            for frame in traceback.extract_tb(current.__traceback__)
        ]
        current = current.__cause__ or current.__context__
    return "\n".join(lines)


def _safe_message(error: BaseException) -> str:
    if isinstance(error, (KeysError, StorageError)) and not isinstance(error, CatalogueConflict):
        return f": {_one_line(redact(str(error)))}"
    if isinstance(error, OSError) and error.errno is not None:
        return f": {os.strerror(error.errno)}"
    return ""


class _Formatter(logging.Formatter):
    """One line a record: time, level, logger, message and fields, redacted; tracebacks without messages."""

    def __init__(self, *, as_json: bool, worker: int | None = None) -> None:
        super().__init__()
        self._as_json = as_json
        self._worker: dict[str, Field] = {} if worker is None else {"worker": worker}

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        parts: dict[str, Field] = {
            "at": at,
            "level": record.levelname,
            "logger": record.name,
            "message": redact(record.getMessage()),
        }
        fields: Mapping[str, Field] = getattr(record, "fields", {}) | self._worker
        parts |= {name: redact(value) if isinstance(value, str) else value for name, value in fields.items()}
        if record.exc_info and record.exc_info[1] is not None:
            parts["error"] = describe_error(record.exc_info[1])
        if self._as_json:
            return json.dumps(parts, ensure_ascii=True)
        head = f"{at} {record.levelname} {record.name}: {_one_line(str(parts['message']))}"
        tail = [f"{name}={_one_line(str(parts[name]))}" for name in fields]
        error = str(parts.get("error", ""))
        # Frames keep their own lines, indented, so that no line of them can pass for a record.
        return " ".join([head, *tail]) + "".join(f"\n    {line}" for line in error.splitlines())


def _one_line(text: str) -> str:
    """Escape control characters, so that nothing a client sends can forge a line of its own."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


_OURS = ("sealgate", "gateway", "storage", "keys")
"""The roots of our own loggers."""


def _is_ours_or_grave(record: logging.LogRecord) -> bool:
    """Whether a record may be told: those of libraries only from WARNING on, however loud somebody has made them."""
    return record.levelno >= logging.WARNING or record.name.partition(".")[0] in _OURS


def configure_logging(
    *, level: str = "INFO", as_json: bool = False, stream: TextIO | None = None, worker: int | None = None
) -> None:
    """Send every log record of the process to one stream (standard error by default), redacted.

    Each line names the worker, where there are several.

    Libraries stay at WARNING at every level: their debug lines hold headers and queries that redaction would have to
    guess at.

    Raises: ValueError for a level that logging does not know.
    """
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ValueError(f"there is no log level {level}")
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_Formatter(as_json=as_json, worker=worker))
    handler.addFilter(_is_ours_or_grave)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in _OURS:
        logging.getLogger(name).setLevel(number)
    AUDIT_LOG.setLevel(logging.INFO)  # what changed, and every alarm, is told at any level
    # The server warns of every malformed request: a stranger could fill the disk with that.
    logging.getLogger("uvicorn").setLevel(logging.ERROR)


@dataclass(slots=True)
class RequestRecord:
    """What is noted of one request on its way, for the access log and the counters."""

    request_id: str
    method: str = ""
    operation: str = ""
    """Empty until the request was routed."""
    status: int = 0
    error_code: str = ""
    bytes_in: int = 0
    bytes_out: int = 0
    access_key_id: str = ""
    """Only one that was found and whose signature was verified."""
    account_id: str = ""
    bucket: str = ""
    object_key: bytes | None = field(default=None, repr=False)
    client_host: str = ""
    told_status: int = 0
    """The status in the audit event of a change, which then stands for the line in the access log; 0 without one."""
    began: float = field(default_factory=time.monotonic)
    was_cut: bool = False
    """The response could not be completed: the client left, or sealed data did not authenticate."""


class _CatalogueCollector(Collector):
    """Shows what the catalogue counts, as Prometheus counters."""

    def __init__(self, read: Callable[[], CatalogueStatistics]) -> None:
        self._read = read

    def collect(self) -> Iterable[Metric]:
        """Give the counters as they stand."""
        now = self._read()
        yield CounterMetricFamily(
            "sealgate_catalogue_commits", "Transactions committed by the catalogue.", value=now.commit_count
        )
        yield CounterMetricFamily("sealgate_catalogue_commands", "Commands that they carried.", value=now.command_count)


class _DiskCollector(Collector):
    """Shows the space of the file systems below named folders, as they are at a scrape."""

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self._folders = folders

    def collect(self) -> Iterable[Metric]:
        """Give both gauges; a folder that cannot be looked at has none."""
        free = GaugeMetricFamily("sealgate_disk_free_bytes", "Space that the gateway may still use.", labels=["folder"])
        size = GaugeMetricFamily("sealgate_disk_size_bytes", "Size of the file system.", labels=["folder"])
        for name, folder in self._folders.items():
            try:
                told = os.statvfs(folder)
            except OSError:
                continue
            free.add_metric([name], told.f_bavail * told.f_frsize)
            size.add_metric([name], told.f_blocks * told.f_frsize)
        return free, size


class Telemetry:
    """Counters, audit events and the access log of one process.

    `name_key` (32 bytes) keys the ids that stand for object names; `with_names` writes the names themselves.
    """

    def __init__(self, name_key: bytes, *, with_names: bool = False) -> None:
        if len(name_key) != 32:
            raise ValueError("the key of name ids has 32 bytes")
        self._name_key = name_key
        self._with_names = with_names
        self.registry = CollectorRegistry(auto_describe=True)
        counter, gauge, histogram = self._counter, self._gauge, self._histogram
        self.requests = counter("sealgate_requests", "Requests answered.", ("operation", "status"))
        self.received = counter("sealgate_received_bytes", "Body bytes received, as decoded.")
        self.sent = counter("sealgate_sent_bytes", "Body bytes sent.")
        self.in_flight = gauge("sealgate_requests_in_flight", "Requests being answered now.")
        self.duration = histogram(
            "sealgate_request_duration_seconds",
            "From the request's headers to the last byte handed to the socket.",
            ("operation",),
            (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0),
        )
        self.shed = counter("sealgate_requests_shed", "Requests refused because too many were in flight.")
        self.cut_responses = counter("sealgate_responses_cut", "Responses aborted after the status line.", ("cause",))
        self.damaged = counter(
            "sealgate_damaged", "Alarm: sealed data, rows or keys that did not authenticate.", ("kind",)
        )
        for kind in DAMAGE_KINDS:
            self.damaged.labels(kind)
        self.kms_errors = counter("sealgate_kms_errors", "Failures of the key management system.", ("kind",))
        self.kms_calls = histogram(
            "sealgate_kms_call_seconds",
            "Calls of key management systems, by what came of them.",
            ("provider", "call", "outcome"),
            (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0),
        )
        self.kms_up = gauge("sealgate_kms_up", "Whether the last call of a KMS was answered.", ("provider",))
        self.canary_proved_at = gauge(
            "sealgate_canary_proved_at_seconds", "When the KMS last proved that it holds the right key (Unix time)."
        )
        self.lifecycle = gauge(
            "sealgate_lifecycle_run", "Counts of the lifecycle run that is under way, or of the last one.", ("what",)
        )
        self.notifications = counter(
            "sealgate_notifications", "Notifications by what became of them.", ("target", "outcome")
        )
        self.journal_lag = gauge(
            "sealgate_journal_lag_seconds", "Age of the oldest change that was not in the journal at the last look."
        )
        self.lost_log_lines = gauge(
            "sealgate_access_log_lines_lost", "Lines of buckets' access logs that were lost since the start."
        )
        self.unexpected_errors = counter("sealgate_unexpected_errors", "Defects: errors that nobody foresaw.")

    def watch_catalogue(self, read: Callable[[], CatalogueStatistics]) -> None:
        """Show what the catalogue counts by itself; read at every scrape."""
        self.registry.register(_CatalogueCollector(read))

    def watch_disks(self, folders: Mapping[str, Path]) -> None:
        """Show the space of the disks that hold these folders; read at every scrape."""
        self.registry.register(_DiskCollector(folders))

    def lifecycle_progress(self, counts: Mapping[str, int]) -> None:
        """Show how far a lifecycle run has come, by the names of its report."""
        for name, count in counts.items():
            self.lifecycle.labels(name.removesuffix("_count")).set(count)

    def notified(self, target: str, outcome: str) -> None:
        """Count what became of a try to notify."""
        self.notifications.labels(target, outcome).inc()

    def kms_called(self, provider: str, call: str, outcome: str, seconds: float) -> None:
        """Count a call of a KMS by what came of it: `ok`, or the kind of the failure."""
        self.kms_calls.labels(provider, call, outcome).observe(seconds)
        self.kms_up.labels(provider).set(outcome != "KmsUnavailable")

    def _counter(self, name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, labels: tuple[str, ...] = ()) -> Gauge:
        return Gauge(name, text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, labels: tuple[str, ...], buckets: tuple[float, ...]) -> Histogram:
        return Histogram(name, text, labels, buckets=buckets, registry=self.registry)

    def object_field(self, bucket: str, object_key: bytes) -> str:
        """Return what logs say of an object: a 24-digit keyed id, or its name where the operator opted in."""
        if self._with_names:
            return f"{bucket}/{object_key.decode('utf-8', 'backslashreplace')}"
        text = len(bucket).to_bytes(2, "big") + bucket.encode("utf-8") + object_key
        return hmac.new(self._name_key, text, hashlib.sha256).hexdigest()[:24]

    def _bucket_field(self, bucket: str) -> str:
        return bucket if self._with_names or not bucket else self.object_field(bucket, b"")

    def _subject(self, record: RequestRecord) -> dict[str, Field]:
        """Who asked for what, in the words that both the access log and audit events use."""
        fields: dict[str, Field] = {
            "request_id": record.request_id,
            "operation": record.operation,
            "account": record.account_id,
            "access_key_id": record.access_key_id,
            "bucket": self._bucket_field(record.bucket),
            "client": record.client_host,
        }
        if record.object_key is not None:
            fields["object"] = self.object_field(record.bucket, record.object_key)
        return {name: value for name, value in fields.items() if value not in ("", None)}

    def request_done(self, record: RequestRecord, duration_s: float) -> None:
        """Count a request and write its line of the access log, unless its audit event has told it all."""
        operation = record.operation or "none"
        self.requests.labels(operation, str(record.status)).inc()
        self.duration.labels(operation).observe(duration_s)
        self.received.inc(record.bytes_in)
        self.sent.inc(record.bytes_out)
        if (record.told_status != record.status or record.was_cut) and ACCESS_LOG.isEnabledFor(logging.INFO):
            ACCESS_LOG.info("request", extra={"fields": self._line(record, duration_s)})

    def mutation(self, record: RequestRecord) -> None:
        """Write the audit event of a change that is about to be acknowledged; it is its line of the access log too.

        `record` holds the status that is to be sent and the bytes that were received.
        """
        record.told_status = record.status
        AUDIT_LOG.info("mutation", extra={"fields": self._line(record, time.monotonic() - record.began)})

    def _line(self, record: RequestRecord, duration_s: float) -> dict[str, Field]:
        fields = {
            "method": record.method,
            "status": record.status,
            "code": record.error_code,
            "bytes_in": record.bytes_in,
            "bytes_out": record.bytes_out,
            "duration_ms": round(duration_s * 1000, 1),
            "cut": record.was_cut,
            **self._subject(record),
        }
        return {name: value for name, value in fields.items() if value not in ("", False)}

    def alarm(self, kind: str, record: RequestRecord | None = None, *, error: Exception | None = None) -> None:
        """Count damage and write its audit event; `kind` is the name of the error class.

        Of `error` the message is shown where its tree promises to hold no secret: it names the blob or row.
        """
        self.damaged.labels(kind).inc()
        fields: dict[str, Field] = {"kind": kind}
        if error is not None:
            fields["what"] = _safe_message(error).removeprefix(": ")
        AUDIT_LOG.error("damaged", extra={"fields": fields | (self._subject(record) if record else {})})

    def kms_failed(self, kind: str, record: RequestRecord | None = None, *, refused: bool = False) -> None:
        """Count a failure of the KMS; a refusal of our own identity is an audit event as well."""
        self.kms_errors.labels(kind).inc()
        if refused:
            fields: dict[str, Field] = {"kind": kind}
            AUDIT_LOG.error("kms refused", extra={"fields": fields | (self._subject(record) if record else {})})
