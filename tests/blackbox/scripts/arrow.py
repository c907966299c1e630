"""Drives pyarrow's S3FileSystem, in its own environment; see `tests/blackbox/test_pyarrow.py`."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pyarrow import fs

from tests.blackbox.scripts.speak import main, sha256, variable


def _system(**options: Any) -> Any:
    return fs.S3FileSystem(
        access_key=variable("AWS_ACCESS_KEY_ID"),
        secret_key=variable("AWS_SECRET_ACCESS_KEY"),
        region=variable("AWS_REGION"),
        endpoint_override=variable("AWS_ENDPOINT_URL"),
        tls_ca_file_path=variable("AWS_CA_BUNDLE"),
        **options,
    )


def buckets(name: str) -> list[str]:
    system = _system(allow_bucket_creation=True, allow_bucket_deletion=True)
    kinds = [system.get_file_info(name).type.name]
    system.create_dir(name)
    kinds.append(system.get_file_info(name).type.name)
    system.delete_dir(name)
    return [*kinds, system.get_file_info(name).type.name]


def streams(bucket: str, keys: list[str], sizes: list[int]) -> dict[str, Any]:
    """Write parts of `sent` under every key, in many small writes; read them back whole and by spans."""
    system = _system()
    content = Path("sent").read_bytes()
    told = {}
    for key, size in zip(keys, sizes, strict=True):
        with system.open_output_stream(f"{bucket}/{key}", metadata={"Content-Type": "text/x-odd"}) as sink:
            for at in range(0, size, 700_001):
                sink.write(content[at : min(at + 700_001, size)])
        with system.open_input_stream(f"{bucket}/{key}") as source:
            whole = source.read()
        with system.open_input_file(f"{bucket}/{key}") as source:
            spans = [source.read_at(7, offset) for offset in (size // 2, max(size - 3, 0))]
            assert spans == [content[offset : min(offset + 7, size)] for offset in (size // 2, max(size - 3, 0))]
        told[key] = {"digest": sha256(whole), "size": system.get_file_info(f"{bucket}/{key}").size}
    return told


def parquet(bucket: str) -> dict[str, Any]:
    """Write a table in row groups and as a partitioned dataset; read columns and a filtered part."""
    system = _system()
    numbers = list(range(200_000))
    table = pa.table({"number": numbers, "text": [f"row {n}" for n in numbers], "half": [n % 2 for n in numbers]})
    pq.write_table(table, f"{bucket}/one.parquet", filesystem=system, row_group_size=20_000)
    one = pq.read_table(f"{bucket}/one.parquet", filesystem=system)
    columns = pq.read_table(f"{bucket}/one.parquet", filesystem=system, columns=["number"])
    partitioning = ds.partitioning(pa.schema([("half", pa.int64())]), flavor="hive")
    ds.write_dataset(table, f"{bucket}/many", filesystem=system, format="parquet", partitioning=partitioning)
    many = ds.dataset(f"{bucket}/many", filesystem=system, format="parquet", partitioning=partitioning)
    odd = many.to_table(filter=(ds.field("half") == 1) & (ds.field("number") > 150_000))
    return {
        "same": one.equals(table),
        "sum": sum(columns["number"].to_pylist()),
        "files": len(many.files),
        "rows": many.count_rows(),
        "odd": sorted(odd["number"].to_pylist()) == list(range(150_001, 200_000, 2)),
    }


def names(bucket: str) -> dict[str, Any]:
    """List, copy, move and delete below a folder."""
    system = _system()
    selector = fs.FileSelector(bucket, recursive=True)

    def listed() -> dict[str, int | None]:
        return {info.path.removeprefix(f"{bucket}/"): info.size for info in system.get_file_info(selector)}

    told: dict[str, Any] = {"before": listed()}
    system.copy_file(f"{bucket}/a/one", f"{bucket}/copied +%")
    system.move(f"{bucket}/a/two", f"{bucket}/moved")
    told["moved"] = listed()
    system.delete_file(f"{bucket}/moved")
    system.delete_dir_contents(f"{bucket}/a")
    told["deleted"] = listed()
    system.create_dir(f"{bucket}/empty")
    told["empty"] = system.get_file_info(f"{bucket}/empty").type.name
    told["missing"] = system.get_file_info(f"{bucket}/not").type.name
    return told


if __name__ == "__main__":
    main(buckets, streams, parquet, names)
