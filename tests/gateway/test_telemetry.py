import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest

from gateway.telemetry import (
    _SECRET_PATTERNS,
    RequestRecord,
    Telemetry,
    configure_logging,
    describe_error,
    redact,
)
from keys.errors import KmsUnavailable
from storage.catalogue.commands import CatalogueStatistics
from storage.catalogue.conflicts import NoSuchBucket
from storage.errors import SealedDamaged, StorageFull


@pytest.fixture
def log(request: pytest.FixtureRequest) -> Iterator[io.StringIO]:
    root = logging.getLogger()
    ours = [logging.getLogger(name) for name in ("sealgate", "sealgate.audit", "gateway", "storage", "keys", "uvicorn")]
    kept = root.handlers[:], root.level, [logger.level for logger in ours]
    stream = io.StringIO()
    configure_logging(level="debug", as_json=getattr(request, "param", False), stream=stream)
    yield stream
    root.handlers[:] = kept[0]
    root.setLevel(kept[1])
    for logger, was in zip(ours, kept[2], strict=True):
        logger.setLevel(was)


@pytest.mark.parametrize(
    "text",
    [
        "GET /b/k?X-Amz-Algorithm=A&X-Amz-Credential=SECRET%2F2026&X-Amz-Signature=SECRET HTTP/1.1",
        "GET /b/k?AWSAccessKeyId=A&Signature=SECRET&Expires=1",
        "url='https://h/b?prefix=a&X-Amz-Security-Token=SECRET&X-Amz-Signature=SECRET'",
        "X-Amz-Security-Token=SECRET",
        "Authorization: AWS4-HMAC-SHA256 Credential=A/2026, Signature=SECRET",
        "{'authorization': 'AWS A:SECRET'}",
        "(b'authorization', b'SECRET')",
        "sent AWS AKID:SECRET=",
        "x-amz-meta-owner: SECRET",
        "x-amz-tagging: SECRET",
        "X-Vault-Token: SECRET",
        "Authorization: Bearer SECRET",
        "x-amz-server-side-encryption-customer-key: SECRET",
        "x-amz-copy-source-server-side-encryption-customer-key: SECRET",
        "-----BEGIN EC PRIVATE KEY-----\nSECRET\n-----END EC PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\nSECRET",
    ],
)
def test_what_looks_like_a_credential_is_redacted(text: str) -> None:
    assert "SECRET" not in redact(text)


def test_what_is_harmless_stays() -> None:
    text = "GET /b/k?list-type=2&prefix=a 200 in 3 ms, signature version 4"
    assert redact(text) == text


@pytest.mark.parametrize("log", [False, True], indirect=True)
def test_lines_and_fields_are_redacted_and_of_one_line(log: io.StringIO) -> None:
    logger = logging.getLogger("gateway.test")
    logger.info("path %s", "/a\r\n2026 forged", extra={"fields": {"q": "X-Amz-Signature=SECRET", "n": "a\nb"}})
    lines = log.getvalue().splitlines()
    assert len(lines) == 1
    assert "SECRET" not in lines[0]
    assert "forged" in lines[0]


@pytest.mark.parametrize("log", [True], indirect=True)
def test_json_lines_hold_the_fields(log: io.StringIO) -> None:
    logging.getLogger("storage.test").warning("text", extra={"fields": {"count": 3}})
    entry = json.loads(log.getvalue())
    assert (entry["level"], entry["message"], entry["count"]) == ("WARNING", "text", 3)


@pytest.mark.parametrize("log", [False, True], indirect=True)
def test_a_logged_error_shows_frames_and_no_messages(log: io.StringIO) -> None:
    empty: dict[str, int] = {}

    def fail() -> None:
        try:
            empty["SECRET-inner"] += 1
        except KeyError as inner:
            raise ValueError("SECRET-outer") from inner

    try:
        fail()
    except ValueError:
        logging.getLogger("gateway.test").exception("failed")
    text = log.getvalue()
    assert "SECRET" not in text
    assert "builtins.ValueError" in text
    assert "builtins.KeyError" in text
    assert "test_telemetry.py" in text


def test_messages_that_promise_to_hold_no_secret_are_shown() -> None:
    assert describe_error(KmsUnavailable("the KMS did not answer")).endswith(": the KMS did not answer")
    assert describe_error(StorageFull("no space\nforged")) == "storage.errors.StorageFull: no space\\nforged"
    assert describe_error(FileNotFoundError(2, "x", "/SECRET")).endswith("FileNotFoundError: No such file or directory")
    assert describe_error(NoSuchBucket("SECRET")) == "storage.catalogue.conflicts.NoSuchBucket"


def test_a_circle_of_causes_ends() -> None:
    first, second = ValueError("a"), KeyError("b")
    first.__cause__, second.__cause__ = second, first
    assert describe_error(first).count("builtins.") == 2


def test_libraries_stay_quiet_at_debug(log: io.StringIO) -> None:
    logging.getLogger("botocore.auth").debug("a header")
    logging.getLogger("urllib3").info("a url")
    logging.getLogger("uvicorn.error").warning("a stranger")
    assert log.getvalue() == ""
    logging.getLogger("keys.x").debug("ours")
    assert "ours" in log.getvalue()


def test_audit_events_are_written_at_every_level(log: io.StringIO) -> None:
    configure_logging(level="error", stream=log)
    Telemetry(b"k" * 32).mutation(RequestRecord("R1", operation="PutObject"))
    assert "request_id=R1" in log.getvalue()


def test_an_unknown_level_is_refused_and_changes_nothing(log: io.StringIO) -> None:
    with pytest.raises(ValueError, match="loud"):
        configure_logging(level="loud")
    logging.getLogger("keys.x").debug("as before")
    assert "as before" in log.getvalue()


def test_names_are_ids_unless_the_operator_opts_in() -> None:
    quiet, other = Telemetry(b"k" * 32), Telemetry(b"l" * 32)
    assert quiet.object_field("b", b"key") == quiet.object_field("b", b"key")
    assert len({quiet.object_field("b", b"key"), quiet.object_field("bk", b"ey"), other.object_field("b", b"key")}) == 3
    assert Telemetry(b"k" * 32, with_names=True).object_field("b", b"k\xff") == "b/k\\xff"
    with pytest.raises(ValueError, match="32 bytes"):
        Telemetry(b"short")


def test_a_request_is_counted_and_logged_without_its_name(log: io.StringIO) -> None:
    telemetry = Telemetry(b"k" * 32)
    record = RequestRecord(
        "R1",
        "PUT",
        "PutObject",
        200,
        bytes_in=10,
        bytes_out=4,
        bucket="my-bucket",
        object_key=b"my-key",
        account_id="a",
    )
    telemetry.mutation(record)
    telemetry.request_done(record, 0.5)
    telemetry.alarm("SealedDamaged", record, error=SealedDamaged("blob 0a0b: chunk: 3 does not authenticate"))
    telemetry.alarm("Canary")
    telemetry.kms_failed("KmsUnavailable", record)
    telemetry.kms_failed("KmsDenied", record, refused=True)
    text = log.getvalue()
    assert "my-key" not in text
    assert "my-bucket" not in text
    assert text.count("sealgate.audit") == 4
    assert "blob 0a0b: chunk: 3 does not authenticate" in text
    assert "request_id=R1" in text
    metrics = generate_latest(telemetry.registry).decode()
    for line in (
        'sealgate_requests_total{operation="PutObject",status="200"} 1.0',
        "sealgate_received_bytes_total 10.0",
        "sealgate_sent_bytes_total 4.0",
        'sealgate_damaged_total{kind="SealedDamaged"} 1.0',
        'sealgate_kms_errors_total{kind="KmsDenied"} 1.0',
    ):
        assert line in metrics


def test_a_change_is_told_in_one_line(log: io.StringIO) -> None:
    telemetry = Telemetry(b"k" * 32)
    record = RequestRecord("R1", "PUT", "PutObject", 200, bytes_in=10, bucket="b", object_key=b"k", account_id="a")
    record.began -= 1.5
    telemetry.mutation(record)
    telemetry.request_done(record, 0.5)
    (line,) = log.getvalue().splitlines()
    assert "sealgate.audit: mutation method=PUT status=200 bytes_in=10" in line
    assert "duration_ms=15" in line
    read = RequestRecord("R2", "GET", "GetObject", 200)
    telemetry.request_done(read, 0.5)
    refused = RequestRecord("R3", "PUT", "PutObject", 412, error_code="PreconditionFailed")
    telemetry.request_done(refused, 0.5)
    assert [line.split()[2] for line in log.getvalue().splitlines()[1:]] == ["sealgate.access:"] * 2


@pytest.mark.parametrize("after", [{"was_cut": True}, {"status": 500}])
def test_a_change_that_was_not_answered_so_is_told_again(log: io.StringIO, after: dict[str, Any]) -> None:
    telemetry = Telemetry(b"k" * 32)
    record = RequestRecord("R1", "PUT", "PutObject", 200)
    telemetry.mutation(record)
    for name, value in after.items():
        setattr(record, name, value)
    telemetry.request_done(record, 0.5)
    assert [line.split()[2] for line in log.getvalue().splitlines()] == ["sealgate.audit:", "sealgate.access:"]


SECRET_WORDS = [
    "?",
    "X-Amz-Signature",
    "Signature",
    "=",
    "x",
    "&",
    " ",
    "\n",
    "authorization",
    ":",
    ",",
    "Bearer",
    "AWS",
    "/",
]


@given(st.lists(st.sampled_from([*SECRET_WORDS, "-----BEGIN PRIVATE KEY-----", "AWS4-HMAC-SHA256"]), max_size=8))
def test_no_text_is_taken_for_harmless_that_is_not(words: list[str]) -> None:
    text = "".join(words)
    redacted = text
    for pattern, replacement in _SECRET_PATTERNS:
        redacted = pattern.sub(replacement, redacted)
    assert redact(text) == redacted


def test_a_record_shows_no_key() -> None:
    assert "my-key" not in repr(RequestRecord("R", object_key=b"my-key"))


def test_the_space_of_each_disk_is_shown_and_a_missing_folder_is_left_out(tmp_path: Path) -> None:
    telemetry = Telemetry(bytes(32))
    telemetry.watch_disks({"data": tmp_path, "keys": tmp_path / "gone"})
    shown = generate_latest(telemetry.registry).decode()
    values = dict(line.split() for line in shown.splitlines() if line.startswith("sealgate_disk_"))
    assert set(values) == {'sealgate_disk_free_bytes{folder="data"}', 'sealgate_disk_size_bytes{folder="data"}'}
    free, size = (float(values[f'sealgate_disk_{what}_bytes{{folder="data"}}']) for what in ("free", "size"))
    assert 0 < free <= size


def test_the_catalogues_own_counts_are_shown_as_counters() -> None:
    telemetry = Telemetry(bytes(32))
    telemetry.watch_catalogue(lambda: CatalogueStatistics(commit_count=3, command_count=70))
    shown = generate_latest(telemetry.registry).decode()
    assert "sealgate_catalogue_commits_total 3.0" in shown
    assert "sealgate_catalogue_commands_total 70.0" in shown


@pytest.mark.parametrize("as_json", [False, True])
def test_each_line_of_a_worker_names_it(log: io.StringIO, *, as_json: bool) -> None:
    configure_logging(as_json=as_json, stream=log, worker=3)
    logging.getLogger("gateway").info("said", extra={"fields": {"kind": "x"}})
    line = log.getvalue()
    if as_json:
        assert json.loads(line)["worker"] == 3
    else:
        assert line.endswith(" kind=x worker=3\n")
