"""docs/S3-SUPPORT.md, written from the operation table, botocore's service model and the conformance tests' tables."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from gateway.operations.table import OPERATIONS
from tests.gateway.s3.conformance.members import judge, members
from tests.gateway.s3.conformance.samples import MODEL
from tests.gateway.s3.conformance.tables import IGNORED, NOT_GIVEN
from tests.tooling.places import ROOT

DOCUMENT: Final = ROOT / "docs" / "S3-SUPPORT.md"

_WEBSITE = "no websites: a browser that asks a site speaks plain HTTP"
_ACCELERATE = "there is no network of edge locations behind one gateway"
_PAYMENT = "nobody is charged"
_REPORTS = "reports about a bucket are not made"
_TIERING = "there is one storage class"
_REPLICATION = "replication is for whoever keeps the sealed store"
_AWS_ONLY = "a service of AWS around S3 (directory buckets, Object Lambda, S3 Metadata)"

REFUSED: Final[Mapping[str, str]] = {
    # Operations that will not come.
    **dict.fromkeys(("DeleteBucketWebsite", "GetBucketWebsite", "PutBucketWebsite"), _WEBSITE),
    **dict.fromkeys(("GetBucketAccelerateConfiguration", "PutBucketAccelerateConfiguration"), _ACCELERATE),
    **dict.fromkeys(("GetBucketRequestPayment", "PutBucketRequestPayment"), _PAYMENT),
    **{
        name: _REPORTS
        for kind in ("Analytics", "Inventory", "Metrics")
        for name in (
            *(f"{verb}Bucket{kind}Configuration" for verb in ("Delete", "Get", "Put")),
            f"ListBucket{kind}Configurations",
        )
    },
    **dict.fromkeys(
        (
            *(f"{verb}BucketIntelligentTieringConfiguration" for verb in ("Delete", "Get", "Put")),
            "ListBucketIntelligentTieringConfigurations",
            "RestoreObject",
        ),
        _TIERING,
    ),
    **dict.fromkeys((f"{verb}BucketReplication" for verb in ("Delete", "Get", "Put")), _REPLICATION),
    "SelectObjectContent": "a query would open whole objects for a few rows; AWS takes no new users either",
    "GetObjectTorrent": "a torrent would hand plaintext to strangers",
    **dict.fromkeys(
        (
            *("CreateSession", "ListDirectoryBuckets", "RenameObject", "WriteGetObjectResponse"),
            *(name for name in MODEL.operation_names if "Metadata" in name or "Annotation" in name or "Abac" in name),
            *(name for name in MODEL.operation_names if name == "UpdateObjectEncryption"),
        ),
        _AWS_ONLY,
    ),
}


def state_of(operation: str) -> tuple[str, str]:
    """`yes`, `no` or `not yet`, and a note."""
    if operation in OPERATIONS:
        return "yes", ""
    if operation in REFUSED:
        return "no", REFUSED[operation]
    newer = next((name for name in OPERATIONS if _wire(name) == _wire(operation)), None)
    if newer is not None:
        return "yes", f"as {newer}, which took its place"
    return "not yet", ""


def _wire(operation: str) -> tuple[str, str] | None:
    """Method and URI, which an operation shares with the one that took its place."""
    if operation not in MODEL.operation_names:
        return None
    http = MODEL.operation_model(operation).http
    return http["method"], http["requestUri"]


def markdown() -> str:
    """The text of the document."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    states = {name: state_of(name) for name in sorted(MODEL.operation_names)}
    counts = {state: sum(found == state for found, _ in states.values()) for state in ("yes", "not yet", "no")}
    yield "# What of S3 is supported"
    yield ""
    yield "Written by `make support` from the operation table, botocore's service model and the tables of the"
    yield "conformance tests; a test compares. Whatever is not supported answers 501 `NotImplemented` and does nothing."
    yield ""
    yield f"Of {len(states)} operations of the model {counts['yes']} are supported, {counts['not yet']} are not yet,"
    yield f"and {counts['no']} will not be. `PostObject`, a browser's upload form, is supported and in no model."
    yield ""
    yield "| operation | supported | note |"
    yield "|---|---|---|"
    for name, (state, why) in states.items():
        yield f"| {name} | {state} | {why} |"
    yield ""
    yield "## Members of requests that are refused"
    yield ""
    yield "A request of a supported operation that carries one of these answers 501; all others take effect. Names are"
    yield "the SDKs'; a member of a document is a path."
    yield ""
    yield "| member | in |"
    yield "|---|---|"
    for name, operations in sorted(_refused_members().items()):
        yield f"| {name} | {', '.join(operations)} |"
    yield ""
    yield "## Members of requests that change nothing"
    yield ""
    yield from _table(IGNORED)
    yield ""
    yield "## Members of answers that are not given"
    yield ""
    yield from _table(NOT_GIVEN)


def _refused_members() -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for operation in OPERATIONS:
        if operation not in MODEL.operation_names:
            continue
        for path in members(operation):
            if judge(operation, path).effect == "refused":
                found[".".join(path)].append(operation)
    return found


def _table(rows: Mapping[str, str]) -> Iterator[str]:
    yield "| member | why |"
    yield "|---|---|"
    for name, why in sorted(rows.items()):
        yield f"| {name} | {why} |"


def write(path: Path = DOCUMENT) -> None:
    """Write the document."""
    path.write_text(markdown())
