"""A real S3 of another maker as source and target of moves."""

from pathlib import Path
from typing import Any

import pytest
from boto3.s3.transfer import TransferConfig

from gateway.moving import bucket_target
from tests.blackbox.clients import ODD_NAMES, payload
from tests.gateway.moving.moving import bring, send, why
from tests.gateway.operations.stage import MIB, Stage
from tests.servers.s3_servers import S3Server
from tests.storage.blobs.s3.support import make_bucket


def test_a_bucket_moves_in_and_out(stage: Stage, server: S3Server, place: dict[str, Any], tmp_path: Path) -> None:
    theirs = server.client()
    theirs.create_bucket(Bucket="brought")
    # SeaweedFS makes a slash of a backslash.
    wanted = {f"odd/{name}": name.encode() for name in ODD_NAMES if "\\" not in name}
    wanted |= {f"{number:03}": payload(number * 37, number) for number in range(100)}
    for key, content in wanted.items():
        theirs.put_object(Bucket="brought", Key=key, Body=content)
    wanted["told"] = b"told"
    theirs.put_object(
        Bucket="brought", Key="told", Body=b"told", Metadata={"who": "me"}, ContentType="text/odd", Tagging="a=b&c=d"
    )
    wanted["parts"] = payload(12 * MIB)
    (tmp_path / "parts").write_bytes(wanted["parts"])
    config = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB)
    theirs.upload_file(str(tmp_path / "parts"), "brought", "parts", Config=config)

    answer = bring(stage, "s3://brought", read_back=True, **place)
    assert (answer["state"], answer["moved"], answer["differences"]) == ("done", len(wanted), [])
    assert sorted(stage.keys()) == sorted(wanted)
    assert {key: stage.body_of(key) for key in wanted} == wanted
    head = stage.alice.head_object(Bucket="bucket", Key="told")
    assert (head["Metadata"], head["ContentType"], head["TagCount"]) == ({"who": "me"}, "text/odd", 2)
    assert bring(stage, "s3://brought", **place)["already_there"] == len(wanted)

    theirs.create_bucket(Bucket="sent")
    out = send(stage, "s3://sent/", read_back=True, **place)
    assert (out["state"], out["moved"], out["differences"]) == ("done", len(wanted), [])
    for key, content in wanted.items():
        assert theirs.get_object(Bucket="sent", Key=key)["Body"].read() == content
    told = theirs.head_object(Bucket="sent", Key="told")
    assert (told["Metadata"], told["ContentType"]) == ({"who": "me"}, "text/odd")
    assert send(stage, "s3://sent/", **place)["already_there"] == len(wanted)
    theirs.close()


def test_a_target_that_drops_what_it_was_told_is_named(
    stage: Stage, server: S3Server, place: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that somebody stripped since, which the same command finds when it is given again."""
    theirs = server.client()
    make_bucket(server, "stripped")
    for key in ("headers", "metadata", "tags", "whole"):
        stage.put(key, key.encode(), Metadata={"who": "me"}, ContentType="text/odd", Tagging="a=b")
    told = {"ContentType": "text/odd", "Metadata": {"who": "me"}, "Tagging": "a=b"}
    for key, without in (("headers", "ContentType"), ("metadata", "Metadata"), ("tags", "Tagging")):
        lacking = {name: value for name, value in told.items() if name != without}
        theirs.put_object(Bucket="stripped", Key=key, Body=key.encode(), **lacking)
    for _ in range(2):
        answer = send(stage, "s3://stripped", **place)
        assert set(why(answer)) == {"headers", "metadata", "tags"}
        assert all("other headers, metadata or tags" in text for text in why(answer).values())
    for entry in theirs.list_objects_v2(Bucket="stripped")["Contents"]:
        theirs.delete_object(Bucket="stripped", Key=entry["Key"])
    real = bucket_target._described
    monkeypatch.setattr(bucket_target, "_described", lambda item: {**real(item), "Metadata": {}})
    answer = send(stage, "s3://stripped", restart=True, **place)
    assert (answer["failed"], answer["moved"]) == (4, 0)
    theirs.close()
