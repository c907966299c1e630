"""Drives obstore (the Rust crate object_store), in its own environment; see `tests/blackbox/test_obstore.py`."""

from pathlib import Path
from typing import Any

import obstore
from obstore.exceptions import AlreadyExistsError, PreconditionError
from obstore.store import S3Store

from tests.blackbox.scripts.speak import main, sha256, variable


def _store(bucket: str, **config: Any) -> Any:
    return S3Store(
        bucket,
        endpoint=variable("AWS_ENDPOINT_URL"),
        access_key_id=variable("AWS_ACCESS_KEY_ID"),
        secret_access_key=variable("AWS_SECRET_ACCESS_KEY"),
        region=variable("AWS_REGION"),
        virtual_hosted_style_request=False,
        retry_config={"max_retries": 0},
        **config,
    )


def files(bucket: str, names: list[str], checksum: str) -> dict[str, dict[str, Any]]:
    """Put and get every file of `sent`; return what put, head and the listing say."""
    store = _store(bucket, **({"checksum_algorithm": checksum} if checksum else {}))
    told = {}
    for name in names:
        content = Path("sent", name).read_bytes()
        made = obstore.put(store, name, content, attributes={"Content-Type": "text/x-odd", "colour": "blue"})
        got = obstore.get(store, name)
        told[name] = {"put": made["e_tag"], "get": got.meta["e_tag"], "type": got.attributes["Content-Type"]}
        told[name]["colour"] = got.attributes["colour"]
        told[name]["digest"] = sha256(bytes(got.bytes()))
        told[name]["size"] = obstore.head(store, name)["size"]
    for entry in (entry for page in obstore.list(store) for entry in page):
        told[entry["path"]] |= {"listed": entry["e_tag"], "listed size": entry["size"]}
    return told


def parts(bucket: str) -> dict[str, Any]:
    """Upload in parts, by `put` and by a writer; read whole, by ranges and through a reader."""
    store = _store(bucket)
    content = Path("sent").read_bytes()
    etag = obstore.put(store, "large", content, use_multipart=True, chunk_size=5 * 1024 * 1024, max_concurrency=3)[
        "e_tag"
    ]
    with obstore.open_writer(store, "written", buffer_size=5 * 1024 * 1024) as writer:
        for at in range(0, len(content), 1_000_003):
            writer.write(content[at : at + 1_000_003])
    starts, ends = [0, 65_535, 5_242_879, len(content) - 1], [1, 65_538, 5_242_882, len(content)]
    ranges = obstore.get_ranges(store, "large", starts=starts, ends=ends)
    assert [bytes(part) for part in ranges] == [content[a:b] for a, b in zip(starts, ends, strict=True)]
    assert bytes(obstore.get_range(store, "large", start=7, length=70_000)) == content[7:70_007]
    tail = obstore.get(store, "large", options={"range": {"suffix": 9}})
    assert bytes(tail.bytes()) == content[-9:]
    reader = obstore.open_reader(store, "written")
    reader.seek(6_000_000)
    assert bytes(reader.read(100)) == content[6_000_000:6_000_100]
    written = b"".join(bytes(chunk) for chunk in obstore.get(store, "written").stream(min_chunk_size=1_000_000))
    return {"etag": etag, "large": sha256(bytes(obstore.get(store, "large").bytes())), "written": sha256(written)}


def conditions(bucket: str) -> list[str]:
    """Create only where nothing is, update only what was read, get only what has changed."""
    store = _store(bucket)
    seen = []
    first = obstore.put(store, "it", b"first", mode="create")
    try:
        obstore.put(store, "it", b"second", mode="create")
    except AlreadyExistsError:
        seen.append("exists")
    second = obstore.put(store, "it", b"second", mode={"e_tag": first["e_tag"]})
    try:
        obstore.put(store, "it", b"third", mode={"e_tag": first["e_tag"]})
    except PreconditionError:
        seen.append("changed")
    try:
        obstore.get(store, "it", options={"if_match": first["e_tag"]})
    except PreconditionError:
        seen.append("not that")
    seen.append(bytes(obstore.get(store, "it", options={"if_match": second["e_tag"]}).bytes()).decode())
    return seen


def names(bucket: str) -> dict[str, Any]:
    """Copy, rename, list and delete."""
    store = _store(bucket)
    obstore.copy(store, "a/one", "copied +%")
    obstore.rename(store, "a/two", "moved")
    page = obstore.list_with_delimiter(store)
    told: dict[str, Any] = {
        "top": [entry["path"] for entry in page["objects"]],
        "folders": list(page["common_prefixes"]),
    }
    told["after"] = [entry["path"] for chunk in obstore.list(store, offset="b") for entry in chunk]
    obstore.delete(store, ["a/one", "moved"])
    told["left"] = [entry["path"] for chunk in obstore.list(store) for entry in chunk]
    try:
        obstore.head(store, "moved")
    except FileNotFoundError:
        told["moved"] = "gone"
    return told


if __name__ == "__main__":
    main(files, parts, conditions, names)
