"""`docker/kubernetes/`: valid for Kubernetes as it is kept up, restricted, and consistent with itself and the gateway.

There is no cluster where the tests run: nothing here is scheduled. What can be tried without one is: the command of the
init container, and the folders that the gateway makes inside what Kubernetes mounts.
"""

import os
import re
import shutil
import stat
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest

from gateway.cli.bootstrap import make_folders
from gateway.config import Settings, load_settings
from gateway.kms_file import read_kms_file
from gateway.wiring.folders import Folders
from tests.docker.recipes import DOCKER, KUBERNETES, documents, image_environment, run
from tests.tooling.places import ROOT
from tests.tooling.tools import program

_FILES: Final = sorted(KUBERNETES.glob("*.yaml"))
_VERSIONS: Final = ("1.32.0", "1.37.0")


def objects(kind: str) -> dict[str, Any]:
    """Every object of a kind, by its name."""
    found = [one for path in _FILES for one in documents(path) if one["kind"] == kind]
    return {one["metadata"]["name"]: one for one in found}


def pod() -> Any:
    return objects("Deployment")["sealgate"]["spec"]["template"]["spec"]


def container() -> Any:
    (one,) = pod()["containers"]
    return one


def settings() -> Settings:
    data = objects("ConfigMap")["sealgate-settings"]["data"]
    return load_settings(environ=image_environment() | data)


def validate(version: str, *files: Path) -> tuple[int, str]:
    done = run(program("kubernetes-validate"), "--strict", "--quiet", "-k", version, *files)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("version", _VERSIONS)
def test_every_manifest_is_valid(version: str) -> None:
    assert _FILES
    assert validate(version, *_FILES) == (0, "")


@pytest.mark.parametrize(
    ("old", "new"), [("readOnlyRootFilesystem", "readonlyRootFilesystem"), ("replicas: 2", "replicas: two")]
)
def test_the_validator_would_refuse_something(tmp_path: Path, old: str, new: str) -> None:
    text = (KUBERNETES / "deployment.yaml").read_text()
    assert old in text
    (tmp_path / "deployment.yaml").write_text(text.replace(old, new))
    assert validate(_VERSIONS[-1], tmp_path / "deployment.yaml")[0] != 0


def test_the_pod_may_do_next_to_nothing() -> None:
    held = pod()["securityContext"]
    assert held["runAsNonRoot"] is True
    assert held["seccompProfile"] == {"type": "RuntimeDefault"}
    user = re.search(r"^USER (\d+):(\d+)$", (DOCKER / "Dockerfile").read_text(), re.MULTILINE)
    assert user is not None
    assert (held["runAsUser"], held["runAsGroup"], held["fsGroup"]) == (int(user[1]), int(user[2]), int(user[2]))
    assert pod()["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod())
    for one in (*pod()["containers"], *pod()["initContainers"]):
        assert one["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"memory", "cpu"} <= set(one["resources"]["limits"])
        assert "env" not in one
    enforced = objects("Namespace")["sealgate"]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
    assert enforced == "restricted"


def test_the_settings_are_settings(tmp_path: Path) -> None:
    told = settings()
    assert (told.catalogue, told.blob_store, told.kms, told.http_port) == ("postgres", "s3", "openbao", 0)
    ports = {port["name"]: port["containerPort"] for port in container()["ports"]}
    assert ports == {"s3": told.port, "monitor": told.monitor_port}
    text = objects("ConfigMap")["sealgate-files"]["data"]["kms.toml"].replace("/private", str(tmp_path))
    (tmp_path / "kms.toml").write_text(text)
    assert list(read_kms_file(tmp_path / "kms.toml", told.region)) == [told.kms]


def test_what_is_named_is_there() -> None:
    volumes = {volume["name"]: volume for volume in pod()["volumes"]}
    mounted = {mount["mountPath"]: mount["name"] for mount in container()["volumeMounts"]}
    used = {mount["name"] for one in (*pod()["containers"], *pod()["initContainers"]) for mount in one["volumeMounts"]}
    assert used == set(volumes)
    (source,) = container()["envFrom"]
    assert source["configMapRef"]["name"] in objects("ConfigMap")
    assert volumes["files"]["configMap"]["name"] in objects("ConfigMap")
    assert volumes["keys"]["persistentVolumeClaim"]["claimName"] in objects("PersistentVolumeClaim")
    data = objects("ConfigMap")["sealgate-settings"]["data"]
    paths = [value for value in data.values() if value.startswith("/")]
    assert {f"/{path.split('/')[1]}" for path in paths} == set(mounted)
    labels = objects("Deployment")["sealgate"]["spec"]["template"]["metadata"]["labels"]
    selectors = [
        objects("Deployment")["sealgate"]["spec"]["selector"]["matchLabels"],
        objects("PodDisruptionBudget")["sealgate"]["spec"]["selector"]["matchLabels"],
        objects("NetworkPolicy")["sealgate"]["spec"]["podSelector"]["matchLabels"],
        *(one["spec"]["selector"] for one in objects("Service").values()),
    ]
    assert all(one == labels for one in selectors)
    names = {port["name"] for port in container()["ports"]}
    assert {port["targetPort"] for one in objects("Service").values() for port in one["spec"]["ports"]} == names


def test_every_secret_file_is_one_that_the_page_tells_to_make() -> None:
    asked = " ".join(objects("ConfigMap")["sealgate-settings"]["data"].values())
    asked += objects("ConfigMap")["sealgate-files"]["data"]["kms.toml"]
    told = re.findall(r"--from-file=([\w.-]+)=", (ROOT / "docs" / "DEPLOY.md").read_text())
    assert set(told) == set(re.findall(r"/private/([\w.-]+)", asked))


def test_life_is_asked_of_the_process_and_readiness_of_what_it_needs() -> None:
    commands = {name: container()[f"{name}Probe"]["exec"]["command"] for name in ("startup", "liveness", "readiness")}
    assert commands["startup"] == commands["liveness"]
    assert [command[2] for command in commands.values()] == ["/healthz", "/healthz", "/readyz"]
    assert f"COPY docker/healthcheck.py {commands['readiness'][1]}" in (DOCKER / "Dockerfile").read_text()


def test_running_requests_may_end() -> None:
    _, seconds = container()["lifecycle"]["preStop"]["exec"]["command"]
    assert pod()["terminationGracePeriodSeconds"] > int(seconds) + settings().drain_timeout_s


def test_a_drained_node_leaves_a_gateway() -> None:
    replicas = objects("Deployment")["sealgate"]["spec"]["replicas"]
    assert 0 < objects("PodDisruptionBudget")["sealgate"]["spec"]["minAvailable"] < replicas
    assert objects("Deployment")["sealgate"]["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_the_network_lets_through_what_the_settings_name_and_nothing_else() -> None:
    denied = objects("NetworkPolicy")["deny"]["spec"]
    assert denied == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    policy = objects("NetworkPolicy")["sealgate"]["spec"]
    assert [port["port"] for rule in policy["ingress"] for port in rule["ports"]] == ["s3", "monitor"]
    told = settings()
    kms = re.search(r'address = "([^"]+)"', objects("ConfigMap")["sealgate-files"]["data"]["kms.toml"])
    assert kms is not None
    wanted = {told.postgres_port, urlsplit(told.s3_endpoint).port, urlsplit(kms[1]).port, 53}
    assert all(rule.get("to") for rule in policy["egress"])
    assert {port["port"] for rule in policy["egress"] for port in rule["ports"]} == wanted


def test_the_init_container_hands_secrets_over_as_the_gateway_takes_them(tmp_path: Path) -> None:
    secret, private = tmp_path / "secret", tmp_path / "private"
    for folder in (secret / "..2026", private):
        folder.mkdir(parents=True)
    (secret / "..2026" / "s3-credentials").write_text("x")
    (secret / "..data").symlink_to("..2026")  # as the kubelet lays it
    (secret / "s3-credentials").symlink_to("..data/s3-credentials")
    (secret / "..2026" / "s3-credentials").chmod(0o440)
    (one,) = pod()["initContainers"]
    shell, flag, command = one["command"]
    done = run(shell, flag, command.replace("/secret", str(secret)).replace("/private", str(private)))
    assert done.returncode == 0, done.stderr
    (copied,) = private.iterdir()
    assert copied.name == "s3-credentials"
    assert stat.S_ISREG(copied.lstat().st_mode)
    assert stat.S_IMODE(copied.stat().st_mode) & 0o077 == 0


def test_the_gateway_makes_private_folders_inside_what_is_open_to_the_group(tmp_path: Path) -> None:
    told = settings()
    for folder in (told.data, told.keys):
        mount = tmp_path / folder.parts[1]
        mount.mkdir()
        mount.chmod(0o2770)  # fsGroup
    data, keys = (tmp_path / folder.relative_to("/") for folder in (told.data, told.keys))
    made = told.model_copy(update={"data": data, "keys": keys})
    make_folders(Folders.of(made))
    for folder in (data, keys):
        assert stat.S_IMODE(folder.stat().st_mode) & 0o777 == 0o700
        assert folder.stat().st_uid == os.geteuid()
    shutil.rmtree(data)
