"""The Dockerfile carried out in a clean root made from Debian packages, and what it makes at work.

No engine and no registry of images are at hand: `image_root.py` says what stands in for them.
"""

import json
import os
import re
import shlex
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker.image_root import Container, Stage, build
from tests.docker.recipes import image_environment, instructions
from tests.tooling.places import bare_environment
from tests.tooling.tools import TABLE, DebianRoot

pytestmark = pytest.mark.slow  # it installs all that the image holds, as the Dockerfile says: without any cache

_CLIENT = """
import boto3, secrets
body = secrets.token_bytes(3_000_003)
s3 = boto3.client("s3")
s3.create_bucket(Bucket="clean")
s3.put_object(Bucket="clean", Key="one", Body=body)
assert s3.get_object(Bucket="clean", Key="one")["Body"].read() == body
print("same")
"""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    assert os.geteuid() == 0, "chroot and mounts need root; CI runs as root"
    return build(tmp_path_factory.mktemp("image"))


@pytest.fixture(scope="module")
def container(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    made = Container(stage, tmp_path_factory.mktemp("container"))
    told = dict(instructions())
    made.start([*json.loads(told["ENTRYPOINT"]), *json.loads(told["CMD"])])
    try:
        made.wait_until_healthy(_check())
        yield made
    finally:
        made.stop()


def _check() -> list[str]:
    found = re.search(r"CMD (\[.*\])", dict(instructions())["HEALTHCHECK"])
    assert found is not None
    return list(json.loads(found[1]))


def test_the_root_is_of_the_release_and_the_python_of_the_image() -> None:
    (source,) = TABLE["debian-root"].sources
    assert isinstance(source, DebianRoot)
    bases = {rest.split()[0] for word, rest in instructions() if word == "FROM"}
    assert bases == {f"python:{TABLE['debian-root'].path.name.removeprefix('python')}-slim-{source.suite}"}


def test_the_image_installs_nothing_and_its_user_changes_nothing(stage: Stage) -> None:
    installed = stage.root / "opt/sealgate"
    assert (installed / "bin/sealgate").is_file()
    names = {path.name for path in installed.glob("lib/python*/site-packages/*")}
    assert {"gateway", "storage", "keys", "hvac", "psycopg"} <= names
    assert not {"pip", "setuptools", "hatchling"} & names
    assert not (stage.root / "src").exists()
    user = int(dict(instructions())["USER"].split(":")[0])
    for path in (installed, *installed.rglob("*")):
        status = path.lstat()
        assert status.st_uid != user, path
        assert stat.S_ISLNK(status.st_mode) or not status.st_mode & stat.S_IWOTH, path


def test_it_serves_over_tls_as_nobody_in_particular_from_a_root_that_is_read_only(container: Container) -> None:
    lines = Path(f"/proc/{container.pid}/status").read_text().splitlines()
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    user, group = container.user.split(":")
    assert set(status["Uid"].split()) == {user}
    assert set(status["Gid"].split()) == {group}
    assert status["Groups"].strip() == ""
    assert int(status["CapEff"], 16) == 0
    for place in ("/", "/opt/sealgate", "/tmp", "/usr/local/bin"):
        assert container.execute(["touch", f"{place}/x"]).returncode != 0, place
    told = {}
    for line in (container.volumes / "keys/client.env").read_text().splitlines():
        (assignment,) = shlex.split(line.removeprefix("export "))
        name, _, value = assignment.partition("=")
        told[name] = value.replace("/keys/", f"{container.volumes}/keys/")
    assert told["AWS_ENDPOINT_URL"] == "https://localhost:9443"
    client = container.beside([sys.executable, "-c", _CLIENT], bare_environment(container.volumes, **told))
    assert client.stdout == "same\n", client.stderr


def test_commands_run_beside_it(container: Container) -> None:
    made = container.execute(["sealgate", "account", "create", "second"])
    assert made.returncode == 0, made.stderr
    assert container.execute([*_check(), "/healthz"]).returncode == 0


def test_it_ends_as_an_engine_asks_and_is_then_not_healthy(container: Container) -> None:
    assert image_environment()["SEALGATE_DATA"] == "/data"
    assert container.stop() == 0, container.log.read_text()
    assert "stopped: every connection is closed" in container.log.read_text()
