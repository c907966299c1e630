"""`docker/compose.yaml`: valid by the compose specification's schema, hardened, and made of settings that there are.

There is no engine where the tests run: `test_topology.py` starts the same services without containers.
"""

import ipaddress
import json
import re
import runpy
from pathlib import Path
from typing import Any, Final

import pytest

from gateway.config import load_settings
from gateway.kms_file import read_kms_file
from tests.docker.recipes import COMPOSE, DOCKER, compose, image_environment, interpolated, interpreter, run, services
from tests.tooling.tools import TABLE, Pip, program

_GATEWAYS: Final = ("gateway-1", "gateway-2")
_ONE_SHOT: Final = ("provision", "bucket")
_LASTING: Final = sorted(set(services()) - set(_ONE_SHOT))
_VALIDATE: Final = """
import json, sys
from jsonschema.validators import validator_for
schema, document = json.load(open(sys.argv[1])), json.load(sys.stdin)
found = validator_for(schema)(schema).iter_errors(document)
print("\\n".join(f"{one.json_path}: {one.message}" for one in found), end="")
"""


def refusals(document: Any) -> str:
    schema = program("javascript").parents[1] / "node_modules" / "dclint" / "schemas" / "compose.schema.json"
    done = run(interpreter(), "-I", "-c", _VALIDATE, schema, stdin=json.dumps(document))
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_is_valid_by_the_schema_of_the_specification() -> None:
    assert refusals(compose()) == ""


@pytest.mark.parametrize(
    ("name", "value"),
    [("memory_limit", "1g"), ("read_only", ["very"]), ("depends_on", {"minio": {"condition": "fine"}})],
)
def test_the_schema_would_refuse_something(name: str, value: Any) -> None:
    document = json.loads(json.dumps(compose()))
    document["services"]["gateway-1"][name] = value
    assert "gateway-1" in refusals(document)


@pytest.mark.slow  # compiling it takes longer than all else here
def test_the_specifications_own_code_loads_it() -> None:
    done = run(program("compose-go"), "--format", "json", COMPOSE, cwd=DOCKER)
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(json.loads(done.stdout)["services"]) == set(services())


def test_the_linter_of_security_finds_only_what_is_meant() -> None:
    done = run(program("compose-lint"), "check", "--format", "json", "--fail-on", "low", COMPOSE)
    found = {(one["rule_id"], one["service"]) for one in json.loads(done.stdout)["findings"]}
    meant = {
        # It hands files over to the users of the others, without a network, and is gone.
        ("CL-0018", "provision"),
        # The image is built here.
        *(("CL-0004", name) for name in services("sealgate")),
        # A digest would have to be looked up in a registry that the tests do not reach; versions are pinned.
        *(("CL-0019", name) for name in ("balancer", "postgres", "openbao", "prometheus")),
    }
    assert found <= meant, found - meant


@pytest.mark.parametrize("name", sorted(services()))
def test_every_service_is_locked_down(name: str) -> None:
    service = services()[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"mem_limit", "cpus", "pids_limit"} <= set(service)
    assert not {"privileged", "pid", "ipc", "devices", "extra_hosts"} & set(service)
    if name == "provision":
        assert service["network_mode"] == "none"
        assert set(service["cap_add"]) == {"CHOWN", "DAC_OVERRIDE", "FOWNER"}
    else:
        assert "cap_add" not in service
        assert int(service["user"].split(":")[0]) > 0


@pytest.mark.parametrize("name", _LASTING)
def test_every_service_that_lasts_is_looked_after(name: str) -> None:
    service = services()[name]
    assert service["restart"] == "unless-stopped"
    # The gateways have the image's own.
    assert name in _GATEWAYS or service["healthcheck"]["test"][0] == "CMD"


def test_one_port_is_published_on_loopback_and_the_rest_reaches_nothing_outside() -> None:
    published = {name: one["ports"] for name, one in services().items() if "ports" in one}
    assert list(published) == ["balancer"]
    (port,) = published["balancer"]
    host, outside, inside = port.split(":")
    assert ipaddress.ip_address(host).is_loopback
    assert (outside, inside) == ("9443", "9443")
    assert compose()["networks"]["back"] == {"internal": True}
    on_front = {name for name, one in services().items() if "front" in one.get("networks", ())}
    assert on_front == {*_GATEWAYS, "balancer"}


@pytest.mark.parametrize("name", _GATEWAYS)
def test_the_gateways_settings_are_settings(name: str) -> None:
    service = services()[name]
    settings = load_settings(environ=image_environment() | service["environment"])
    assert settings.catalogue == "postgres"
    assert (settings.blob_store, settings.kms) == ("s3", "openbao")
    assert settings.http_port == 0
    mounts = dict(volume.split(":")[:2][::-1] for volume in service["volumes"])
    assert (mounts[str(settings.data)], mounts[str(settings.keys)]) == ("data", "keys")
    told = [value for key, value in service["environment"].items() if key.endswith(("_FILE", "_CA", "_KEY"))]
    assert told
    for path in told:
        assert Path(path).parts[1] in ("certs", "config"), path
    assert float(service["stop_grace_period"].removesuffix("s")) > settings.drain_timeout_s


def test_no_secret_stands_in_an_environment() -> None:
    for name, service in services().items():
        for variable, value in service.get("environment", {}).items():
            secret = re.search(r"PASSWORD|SECRET|TOKEN|CREDENTIALS|_KEY$", variable)
            assert secret is None or value.startswith("/"), f"{name}: {variable}"


def test_nobody_mounts_what_is_anothers() -> None:
    for name, service in services().items():
        volumes = [volume.split(":") for volume in service.get("volumes", ())]
        assert all(volume[0] in compose()["volumes"] for volume in volumes)
        if name != "provision":
            assert "authority" not in {volume[0] for volume in volumes}
            assert all(volume[2:] == ["ro"] for volume in volumes if volume[1] == "/certs")


def test_files_go_to_the_users_that_run_there() -> None:
    provision = runpy.run_path(str(DOCKER / "compose" / "provision.py"))
    table = provision["SERVICES"]
    mounted = {volume.split(":")[1] for volume in services()["provision"]["volumes"]}
    assert mounted == {f"{provision['ROOT']}/{name}" for name in (*table, "authority")}
    for name, service in services().items():
        for volume in service.get("volumes", ()):
            held = table.get(volume.split(":")[0])
            if name != "provision" and held is not None:
                assert service["user"] == f"{held.user}:{held.user}", name


def test_what_is_mounted_is_there() -> None:
    configs = compose()["configs"]
    for config in configs.values():
        assert (DOCKER / config["file"]).is_file(), config
    used = {mount["source"] for service in services().values() for mount in service.get("configs", ())}
    assert used == set(configs)


def test_the_kms_file_is_one(tmp_path: Path) -> None:
    certs = tmp_path / "certs"
    certs.mkdir()
    text = (DOCKER / "compose" / "kms.toml").read_text()
    (tmp_path / "kms.toml").write_text(text.replace("/certs", str(certs)))
    assert list(read_kms_file(tmp_path / "kms.toml", "us-east-1")) == ["openbao"]


def test_versions_are_pinned_and_those_that_are_tested() -> None:
    images = {name: one["image"] for name, one in services().items() if one["image"] != "sealgate"}
    for name, image in images.items():
        assert re.search(r":v?\d+\.\d+|@sha256:[0-9a-f]{64}$", image), name
    (source,) = TABLE["openbao"].sources
    assert isinstance(source, Pip)
    assert images["openbao"].rpartition(":")[2] == source.requirement.rpartition("=")[2]


def test_what_is_built_here_is_pulled_from_nowhere() -> None:
    for name, service in services().items():
        assert ("build" in service) == (service["image"] == "sealgate"), name


def test_variables_have_defaults() -> None:
    text = COMPOSE.read_text()
    assert re.findall(r"\$\{\w+\}|\$\w", text) == []
    assert "${" not in json.dumps(interpolated(compose()))
