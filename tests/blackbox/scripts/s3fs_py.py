"""Drives s3fs (fsspec over aiobotocore), in its own environment; see `tests/blackbox/test_s3fs.py`."""

from pathlib import Path
from typing import Any

import s3fs
from botocore.exceptions import ClientError

from tests.blackbox.scripts.speak import main, sha256, variable


def _system(**options: Any) -> Any:
    client = {"endpoint_url": variable("AWS_ENDPOINT_URL"), "region_name": variable("AWS_REGION")}
    return s3fs.S3FileSystem(
        key=variable("AWS_ACCESS_KEY_ID"),
        secret=variable("AWS_SECRET_ACCESS_KEY"),
        client_kwargs=client | {"verify": variable("AWS_CA_BUNDLE")},
        config_kwargs={"retries": {"total_max_attempts": 1}},
        **options,
    )


def buckets(name: str) -> list[bool]:
    system = _system()
    seen = [system.exists(name)]
    system.mkdir(name)
    seen += [system.exists(name), name in system.ls("/")]
    system.rmdir(name)
    system.invalidate_cache()
    return [*seen, system.exists(name)]


def folders(bucket: str) -> dict[str, Any]:
    """Upload the folder `sent`, download it to `back`, and list it."""
    system = _system()
    system.put("sent/", f"{bucket}/top/", recursive=True)
    listed = system.find(f"{bucket}/top", detail=True)
    system.get(f"{bucket}/top/", "back/", recursive=True)
    return {
        name.removeprefix(f"{bucket}/top/"): {"size": entry["size"], "etag": entry["ETag"]}
        for name, entry in listed.items()
    }


def streams(bucket: str) -> dict[str, Any]:
    """Write through a file object, append to it, and read spans, lines and the whole."""
    system = _system()
    content = Path("sent").read_bytes()
    path = f"{bucket}/stream +%"
    with system.open(path, "wb", block_size=5 * 1024 * 1024) as sink:
        for at in range(0, len(content), 900_001):
            sink.write(content[at : at + 900_001])
    system.invalidate_cache()
    with system.open(path, "rb", block_size=1024 * 1024) as source:
        source.seek(7_000_000)
        assert source.read(100) == content[7_000_000:7_000_100]
        source.seek(-9, 2)
        assert source.read() == content[-9:]
        source.seek(0)
        whole = source.read()
    assert system.cat_file(path, start=10, end=70_000) == content[10:70_000]
    assert system.cat_ranges([path] * 2, [0, 9_000_000], [5, 9_000_007]) == [
        content[:5],
        content[9_000_000:9_000_007],
    ]
    assert system.tail(path, 11) == content[-11:]
    with system.open(path, "ab") as sink:
        sink.write(b"the end")
    system.invalidate_cache()
    return {"whole": sha256(whole), "appended": sha256(system.cat_file(path)), "size": system.size(path)}


def names(bucket: str) -> dict[str, Any]:
    """Copy, move, glob, touch and delete."""
    system = _system()
    system.copy(f"{bucket}/a/one", f"{bucket}/copied +%")
    system.mv(f"{bucket}/a/two", f"{bucket}/moved")
    told: dict[str, Any] = {"glob": system.glob(f"{bucket}/**/*o*"), "du": system.du(bucket)}
    told["info"] = {name: system.info(f"{bucket}/b")[name] for name in ("size", "ETag", "type", "ContentType")}
    told["folder"] = [system.isdir(f"{bucket}/a"), system.isdir(f"{bucket}/b"), system.isfile(f"{bucket}/b")]
    system.rm(f"{bucket}/a", recursive=True)
    system.rm_file(f"{bucket}/moved")
    system.touch(f"{bucket}/empty")
    system.invalidate_cache()
    told["left"] = system.find(bucket)
    told["gone"] = system.exists(f"{bucket}/moved")
    return told


def metadata(bucket: str) -> dict[str, Any]:
    """Write with metadata, change it in place, and refuse to overwrite."""
    system = _system()
    path = f"{bucket}/it"
    system.pipe_file(path, b"content", ContentType="text/x-odd", Metadata={"colour": "blue"})
    before = dict(system.metadata(path))
    system.setxattr(path, colour="red")
    told = {"before": before, "after": dict(system.metadata(path, refresh=True)), "refused": ""}
    try:
        system.pipe_file(path, b"other", mode="create")
    except OSError as error:
        if not isinstance(error.__cause__, ClientError):
            raise
        told["refused"] = error.__cause__.response["Error"]["Code"]
    return told | {"content": system.cat_file(path).decode()}


if __name__ == "__main__":
    main(buckets, folders, streams, names, metadata)
