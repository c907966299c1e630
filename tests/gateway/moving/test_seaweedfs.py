"""A real S3 of another maker as source and target of moves."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from boto3.s3.transfer import TransferConfig

from tests.blackbox.clients import ODD_NAMES, payload
from tests.gateway.moving.moving import bring, send
from tests.gateway.operations.stage import MIB, Stage
from tests.servers.s3_servers import ACCESS_KEY_ID, SECRET_ACCESS_KEY, S3Server, SeaweedFs
from tests.storage.blobs.s3.support import running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running(SeaweedFs(tmp_path_factory.mktemp("seaweedfs"))) as started:
        yield started


@pytest.fixture
def place(server: S3Server, tmp_path: Path) -> dict[str, Any]:
    credentials = tmp_path / "credentials"
    credentials.write_text(f"AWS_ACCESS_KEY_ID={ACCESS_KEY_ID}\nAWS_SECRET_ACCESS_KEY={SECRET_ACCESS_KEY}\n")
    credentials.chmod(0o600)
    return {
        "endpoint": server.endpoint,
        "ca_file": str(server.authority.certificate),
        "credentials": str(credentials),
    }


def test_a_bucket_moves_in_and_out(stage: Stage, server: S3Server, place: dict[str, Any], tmp_path: Path) -> None:
    theirs = server.client()
    theirs.create_bucket(Bucket="source")
    # SeaweedFS makes a slash of a backslash.
    wanted = {f"odd/{name}": name.encode() for name in ODD_NAMES if "\\" not in name}
    wanted |= {f"{number:03}": payload(number * 37, number) for number in range(100)}
    for key, content in wanted.items():
        theirs.put_object(Bucket="source", Key=key, Body=content)
    wanted["told"] = b"told"
    theirs.put_object(
        Bucket="source", Key="told", Body=b"told", Metadata={"who": "me"}, ContentType="text/odd", Tagging="a=b&c=d"
    )
    wanted["parts"] = payload(12 * MIB)
    (tmp_path / "parts").write_bytes(wanted["parts"])
    config = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB)
    theirs.upload_file(str(tmp_path / "parts"), "source", "parts", Config=config)

    answer = bring(stage, "s3://source", parallel=8, read_back=True, **place)
    assert (answer["state"], answer["moved"], answer["differences"]) == ("done", len(wanted), [])
    assert sorted(stage.keys()) == sorted(wanted)
    assert {key: stage.body_of(key) for key in wanted} == wanted
    head = stage.alice.head_object(Bucket="bucket", Key="told")
    assert (head["Metadata"], head["ContentType"], head["TagCount"]) == ({"who": "me"}, "text/odd", 2)
    assert bring(stage, "s3://source", parallel=8, **place)["already_there"] == len(wanted)

    theirs.create_bucket(Bucket="target")
    out = send(stage, "s3://target/", parallel=8, read_back=True, **place)
    assert (out["state"], out["moved"], out["differences"]) == ("done", len(wanted), [])
    for key, content in wanted.items():
        assert theirs.get_object(Bucket="target", Key=key)["Body"].read() == content
    told = theirs.head_object(Bucket="target", Key="told")
    assert (told["Metadata"], told["ContentType"]) == ({"who": "me"}, "text/odd")
    assert send(stage, "s3://target/", parallel=8, **place)["already_there"] == len(wanted)
    theirs.close()
