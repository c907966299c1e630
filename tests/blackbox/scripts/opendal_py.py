"""Drives opendal, in its own environment; see `tests/blackbox/test_opendal.py`."""

from pathlib import Path
from typing import Any

import opendal

from tests.blackbox.scripts.speak import main, sha256, variable


def _operator(bucket: str, **options: str) -> Any:
    return opendal.Operator(
        "s3",
        bucket=bucket,
        root="/below",
        endpoint=variable("AWS_ENDPOINT_URL"),
        region=variable("AWS_REGION"),
        access_key_id=variable("AWS_ACCESS_KEY_ID"),
        secret_access_key=variable("AWS_SECRET_ACCESS_KEY"),
        disable_config_load="true",
        **options,
    )


def files(bucket: str, names: list[str], checksum: str) -> dict[str, dict[str, Any]]:
    """Write and read every file of `sent`; return what stat and the listing say."""
    operator = _operator(bucket, **({"checksum_algorithm": checksum} if checksum else {}))
    told = {}
    for name in names:
        operator.write(name, Path("sent", name).read_bytes(), content_type="text/x-odd")
        stat = operator.stat(name)
        told[name] = {"etag": stat.etag, "size": stat.content_length, "type": stat.content_type}
        told[name]["digest"] = sha256(operator.read(name))
    listed = [entry.path for entry in operator.list("", recursive=True) if not entry.path.endswith("/")]
    assert sorted(listed) == sorted(names), listed
    return told


def streams(bucket: str) -> dict[str, str]:
    """Write in chunks of parts, and read spans and the whole through a file object."""
    operator = _operator(bucket)
    content = Path("sent").read_bytes()
    with operator.open("stream +%", "wb", chunk=5 * 1024 * 1024, concurrent=3) as sink:
        for at in range(0, len(content), 900_001):
            sink.write(content[at : at + 900_001])
    assert operator.read("stream +%", offset=7, size=70_000) == content[7:70_007]
    with operator.open("stream +%", "rb") as source:
        source.seek(7_000_000)
        assert source.read(100) == content[7_000_000:7_000_100]
    return {"whole": sha256(operator.read("stream +%"))}


def names(bucket: str) -> dict[str, Any]:
    """Make a folder, copy, list, delete one and delete a tree."""
    operator = _operator(bucket)
    operator.create_dir("empty/")
    operator.copy("a/one", "copied +%")
    told: dict[str, Any] = {"top": sorted(entry.path for entry in operator.list(""))}
    operator.delete("a/one")
    told["gone"] = operator.exists("a/one")
    told["again"] = operator.delete("a/one")
    operator.remove_all("a/")
    told["left"] = sorted(entry.path for entry in operator.list("", recursive=True))
    return told


def conditions(bucket: str) -> list[str]:
    """Write only where nothing is, and read only what was meant."""
    operator = _operator(bucket)
    seen = []
    operator.write("it", b"first", if_not_exists=True)
    try:
        operator.write("it", b"second", if_not_exists=True)
    except opendal.exceptions.ConditionNotMatch:
        seen.append("exists")
    etag = operator.stat("it").etag
    try:
        operator.read("it", if_match='"0123"')
    except opendal.exceptions.ConditionNotMatch:
        seen.append("not that")
    seen.append(operator.read("it", if_match=etag).decode())
    try:
        operator.stat("not")
    except opendal.exceptions.NotFound:
        seen.append("missing")
    return seen


if __name__ == "__main__":
    main(files, streams, names, conditions)
