"""The first start makes everything once; crashes are completed; what is missing later is refused, never made again."""

import asyncio
import fcntl
import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.cli import bootstrap, rehearsal, serve
from gateway.cli.bootstrap import MARKER, owned
from gateway.cli.client_env import endpoint_url
from gateway.cli.exits import CommandError, Exit, SetupError
from gateway.cli.main import run
from gateway.cli.pki import TlsFiles, make_certificates
from gateway.cli.rehearsal import rehearse
from gateway.config import Settings
from gateway.http.server import ServerSettings
from gateway.wiring.folders import Folders
from gateway.wiring.gateway import Gateway, open_gateway
from gateway.wiring.listeners import server_settings
from keys.datakey import DataKey
from keys.keyring_file import LocalKeyring
from keys.kms.base import KeyState
from keys.kms.local import LocalKms
from keys.kms.routing import local_kms
from keys.root_secret import encode_root_file
from storage import seams
from storage.catalogue.conflicts import NoSuchAccount
from storage.catalogue.records import Bucket
from tests.gateway.cli.helpers import digests, settings_in, start
from tests.gateway.wiring.opened import with_gateway
from tests.servers.ports import free_ports
from tests.tooling.places import ROOT


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A place where a first start went well."""
    assert start(settings_in(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("template")
    assert start(settings_in(place))
    return place


@pytest.fixture
def quiet_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    """`serve` in this process: without what would change the test process for good."""
    monkeypatch.setattr(serve, "prepare_process", lambda: None)
    monkeypatch.setattr(serve, "calm_collector", lambda: None)
    monkeypatch.setattr(serve, "configure_logging", lambda **_: None)


def test_the_first_start_makes_everything(made: Path) -> None:
    for name in (
        "data/realm.json",
        "data/catalogue/catalogue.db",
        "data/blobs/realm",
        "data-keys/keyring.json",
        "data-keys/root.key",
        "data-keys/realm.json",
        "data-keys/client.env",
        "data-keys/tls/ca.pem",
        "data-keys/tls/server.pem",
    ):
        assert (made / name).is_file(), name
    assert not (made / "data" / MARKER).exists()


def test_everything_is_private(made: Path) -> None:
    for path in [made / "data", made / "data-keys", *made.rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path


def test_client_env_makes_a_shell_ready(made: Path) -> None:
    names = [
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_ENDPOINT_URL",
        "AWS_CA_BUNDLE",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
    ]
    shown = "; ".join(f'printf "%s\\n" "${name}"' for name in names)
    script = f'. "$1"; {shown}'
    got = subprocess.run(
        ["sh", "-c", script, "sh", made / "data-keys" / "client.env"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert len(got[0]) == 20
    assert len(got[1]) == 40
    assert got[2:] == ["https://localhost:9443", str(made / "data-keys/tls/ca.pem"), "us-east-1", "us-east-1"]


def test_the_first_account_signs_with_what_client_env_says(made: Path) -> None:
    async def look() -> None:
        settings = settings_in(made)
        async with open_gateway(settings, Folders.of(settings)) as gateway:
            line = (made / "data-keys/client.env").read_text().splitlines()
            access_key_id, secret = (text.split("=", 1)[1] for text in line[:2])
            resolved = await gateway.identities.resolve(access_key_id)
            assert resolved is not None
            assert (resolved[0].account.name, resolved[1]) == ("main", secret)
            with pytest.raises(NoSuchAccount):
                await gateway.stores.catalogue.get_account_by_name("other")

    asyncio.run(look())


def test_a_second_start_changes_nothing(made: Path) -> None:
    keys, data = digests(made / "data-keys"), digests(made / "data")
    assert not start(settings_in(made))
    assert digests(made / "data-keys") == keys
    assert digests(made / "data") == data


def test_client_env_follows_a_changed_port_with_the_same_credentials(made: Path) -> None:
    before = (made / "data-keys/client.env").read_text().splitlines()
    start(settings_in(made, port=9555))
    after = (made / "data-keys/client.env").read_text().splitlines()
    assert after[:2] == before[:2]
    assert after[2] == "export AWS_ENDPOINT_URL=https://localhost:9555"


@pytest.mark.parametrize(
    ("host", "named"),
    [
        *((host, "localhost") for host in ("127.0.0.1", "0.0.0.0", "::", "localhost")),  # noqa: S104 - asked, never bound
        *((host, host) for host in ("127.0.0.2", "192.0.2.7", "gateway.example")),
        *((host, f"[{host}]") for host in ("::1", "2001:db8::7")),
    ],
)
def test_clients_are_told_where_it_listens(host: str, named: str) -> None:
    assert endpoint_url(Settings(host=host, port=9555)) == f"https://{named}:9555"


def sourced(path: Path, **before: str) -> dict[str, str]:
    """What a shell has in its environment after sourcing a file."""
    done = subprocess.run(
        ["sh", "-c", '. "$1"; env', "sh", path], env=before, capture_output=True, text=True, check=True
    )
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


def test_client_env_takes_the_private_ca_back_where_the_certificate_is_the_user_s(made: Path) -> None:
    path, tls = made / "data-keys/client.env", made / "data-keys/tls"
    shell = sourced(path)
    assert shell["AWS_CA_BUNDLE"] == str(tls / "ca.pem")
    start(settings_in(made, tls_certificate=tls / "server.pem", tls_key=tls / "server-key.pem"))
    assert "AWS_CA_BUNDLE" not in sourced(path, **shell), "the shell held the private CA since it sourced the old file"
    assert sourced(path, AWS_CA_BUNDLE="/corporate.pem")["AWS_CA_BUNDLE"] == "/corporate.pem"
    assert sourced(path)["AWS_SECRET_ACCESS_KEY"] == shell["AWS_SECRET_ACCESS_KEY"]
    start(settings_in(made))
    assert sourced(path)["AWS_CA_BUNDLE"] == str(tls / "ca.pem"), "and back again"


@pytest.mark.parametrize("text", ["", "# mine\n", "export AWS_REGION='unclosed\n"])
def test_a_client_env_that_the_user_wrote_stays(made: Path, text: str) -> None:
    path = made / "data-keys/client.env"
    path.write_text(text or "export AWS_REGION=here\n")
    held = path.read_bytes()
    start(settings_in(made, port=9555))
    assert path.read_bytes() == held


def test_a_removed_client_env_is_not_made_again(made: Path) -> None:
    (made / "data-keys/client.env").unlink()
    assert not start(settings_in(made))
    assert not (made / "data-keys/client.env").exists()


def test_empty_folders_are_taken_over_and_closed(tmp_path: Path) -> None:
    for name in ("data", "data-keys"):
        (tmp_path / name).mkdir(mode=0o755)
        (tmp_path / name / "lost+found").mkdir()
    assert start(settings_in(tmp_path))
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700


def test_folders_may_be_symbolic_links(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "data").symlink_to(tmp_path / "disk" / "real")
    assert start(settings_in(tmp_path))
    assert (tmp_path / "disk/real/realm.json").exists()


def test_a_keyring_behind_a_passphrase(tmp_path: Path) -> None:
    passphrase = tmp_path / "passphrase"
    passphrase.write_text("correct horse battery staple\n")
    passphrase.chmod(0o600)
    settings = settings_in(tmp_path, passphrase_file=passphrase)
    assert start(settings)
    assert not (tmp_path / "data-keys/root.key").exists()
    assert not start(settings)


SEAMS = [
    "first-start.marked",
    "first-start.keyring",
    "first-start.realm-copy",
    "first-start.realm",
    "first-start.tls",
    "first-start.catalogue",
    "first-start.stores",
]


class Crash(BaseException):
    """Nothing catches it, as nothing catches a kill."""


@pytest.fixture
def crash_at() -> Iterator[Callable[[str], None]]:
    def install(wanted: str) -> None:
        def hook(name: str) -> None:
            if name == wanted:
                raise Crash

        seams.hook = hook

    yield install
    seams.hook = None


@pytest.mark.parametrize("point", SEAMS)
def test_a_crash_in_the_first_start_is_completed_by_the_next(
    tmp_path: Path, point: str, crash_at: Callable[[str], None]
) -> None:
    settings = settings_in(tmp_path)
    crash_at(point)
    with pytest.raises(Crash):
        start(settings)
    assert (tmp_path / "data" / MARKER).exists()
    keyring = tmp_path / "data-keys/keyring.json"
    held = keyring.read_bytes() if keyring.exists() else None
    seams.hook = None
    assert start(settings)
    assert held in (None, keyring.read_bytes()), "a keyring that was made is kept"
    assert not start(settings)
    test_the_first_account_signs_with_what_client_env_says(tmp_path)


def test_an_unfinished_start_with_other_keys_is_refused(tmp_path: Path, crash_at: Callable[[str], None]) -> None:
    crash_at("first-start.realm")
    with pytest.raises(Crash):
        start(settings_in(tmp_path))
    seams.hook = None
    with pytest.raises(SetupError, match="begun with another keys folder"):
        start(settings_in(tmp_path, keys=tmp_path / "other"))


@pytest.mark.parametrize("point", ["first-start.marked", "first-start.keyring", "first-start.realm"])
def test_an_unfinished_start_takes_no_keys_that_are_in_use(
    made: Path, point: str, crash_at: Callable[[str], None]
) -> None:
    """Keys of a deployment that serves: a slip of --keys must not write a realm or a client.env over them."""
    crash_at(point)
    with pytest.raises(Crash):
        start(settings_in(made / "second"))
    seams.hook = None
    before = digests(made / "data-keys"), digests(made / "second/data")
    with pytest.raises(SetupError):
        start(settings_in(made / "second", keys=made / "data-keys"))
    assert (digests(made / "data-keys"), digests(made / "second/data")) == before


def test_a_marker_that_came_back_buries_no_buckets(made: Path) -> None:
    settings = settings_in(made)
    folders = Folders.of(settings)

    async def use() -> None:
        async with open_gateway(settings, folders) as gateway:
            (account,) = await gateway.stores.catalogue.list_accounts()
            bucket = Bucket(bytes(16), "kept", account.account_id, datetime.now(UTC))
            await gateway.stores.catalogue.create_bucket(bucket, 1)

    asyncio.run(use())
    (made / "data" / MARKER).write_text("back from a backup")
    before = (made / "data/catalogue/catalogue.db").read_bytes()
    with pytest.raises(SetupError, match="the catalogue holds buckets: remove that file"):
        start(settings)
    assert (made / "data/catalogue/catalogue.db").read_bytes() == before
    (made / "data" / MARKER).unlink()
    assert not start(settings)


def test_new_folders_are_durable_up_to_the_first_that_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    settings = settings_in(tmp_path / "new", data=tmp_path / "new/a/data", keys=tmp_path / "new/k/keys")
    bootstrap.make_folders(Folders.of(settings))
    assert {tmp_path, tmp_path / "new", tmp_path / "new/a", tmp_path / "new/k"} <= set(synced)


def _remove(*names: str) -> Callable[[Path], list[str]]:
    def spoil(place: Path) -> list[str]:
        for name in names:
            path = place / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return []

    return spoil


def _write(name: str, text: str) -> Callable[[Path], list[str]]:
    def spoil(place: Path) -> list[str]:
        (place / name).write_text(text)
        (place / name).chmod(0o600)
        return []

    return spoil


def _mode(name: str, mode: int) -> Callable[[Path], list[str]]:
    def spoil(place: Path) -> list[str]:
        (place / name).chmod(mode)
        return []

    return spoil


def _flags(*flags: str) -> Callable[[Path], list[str]]:
    return lambda place: [flag.replace("PLACE", str(place)) for flag in flags]


def _empty_data(place: Path) -> list[str]:
    shutil.rmtree(place / "data")
    (place / "data").mkdir(mode=0o700)
    return []


def _other_keys(place: Path) -> list[str]:
    start(settings_in(place / "second"))
    return ["--keys", str(place / "second/data-keys")]


def _swapped_realm(place: Path) -> list[str]:
    start(settings_in(place / "second"))
    shutil.copy(place / "second/data/realm.json", place / "data/realm.json")
    return []


def _other_catalogue(place: Path) -> list[str]:
    start(settings_in(place / "second"))
    shutil.copy(place / "second/data/catalogue/catalogue.db", place / "data/catalogue/catalogue.db")
    return []


def _linked_keys(place: Path) -> list[str]:
    shutil.move(place / "data-keys", place / "data/k")
    (place / "data-keys").symlink_to(place / "data/k")
    return []


def _fifo(place: Path) -> list[str]:
    (place / "data-keys/root.key").unlink()
    os.mkfifo(place / "data-keys/root.key", 0o600)
    return []


def _passphrase(text: str, mode: int = 0o600, name: str = "pass") -> Callable[[Path], list[str]]:
    def spoil(place: Path) -> list[str]:
        (place / name).write_text(text)
        (place / name).chmod(mode)
        return ["--passphrase-file", str(place / name)]

    return spoil


def _behind_a_passphrase(*flags: str) -> Callable[[Path], list[str]]:
    def spoil(place: Path) -> list[str]:
        _remove("data-keys/keyring.json", "data-keys/root.key")(place)
        LocalKeyring.create(place / "data-keys", "long enough words")
        _passphrase("other long enough words")(place)
        return _flags(*flags)(place)

    return spoil


def _key_off(place: Path) -> list[str]:
    LocalKeyring.open(place / "data-keys").set_key_state(None, KeyState.DISABLED)
    return []


def _from_before_a_rotation(name: str) -> Callable[[Path], list[str]]:
    async def rotate(gateway: Gateway) -> None:
        local = local_kms(gateway.opened.kms)
        assert local is not None
        local.keyring.rotate_key(None)
        assert (await gateway.key_life.rewrap()).left_count == 0
        local.keyring.set_key_state(None, KeyState.DISABLED, 1)

    def spoil(place: Path) -> list[str]:
        old = (place / name).read_bytes()
        with_gateway(place, rotate)
        (place / name).write_bytes(old)
        return []

    return spoil


def _open_certificate(place: Path) -> list[str]:
    for name in ("server.pem", "server-key.pem"):
        shutil.copy(place / "data-keys/tls" / name, place / name)
    (place / "server-key.pem").chmod(0o644)
    return ["--tls-certificate", str(place / "server.pem"), "--tls-key", str(place / "server-key.pem")]


BAD = {
    # name: what is done to a good deployment (it returns further flags), exit code, words of the line
    "keys inside data": (_flags("--keys", "PLACE/data/keys"), Exit.SETUP, "lies inside the data folder"),
    "keys are data": (_flags("--keys", "PLACE/data"), Exit.SETUP, "lies inside the data folder"),
    "data inside keys": (_flags("--keys", "PLACE"), Exit.SETUP, "lies inside the keys folder"),
    "keys inside data by a link": (_linked_keys, Exit.SETUP, "lies inside the data folder"),
    "keys inside data by dots": (_flags("--keys", "PLACE/data-keys/../data/k"), Exit.SETUP, "lies inside"),
    "passphrase inside data": (_passphrase("long enough words", name="data/p"), Exit.SETUP, "secrets and anchors"),
    "data gone": (_remove("data"), Exit.SETUP, "is empty"),
    "data emptied": (_empty_data, Exit.SETUP, "is empty"),
    "keys gone": (_remove("data-keys"), Exit.SETUP, "was sealed by a keyring"),
    "keyring gone": (_remove("data-keys/keyring.json"), Exit.SETUP, "keyring.json is missing"),
    "root secret gone": (_remove("data-keys/root.key"), Exit.KEYS, "root.key is missing"),
    "realm gone": (_remove("data/realm.json"), Exit.SETUP, "realm.json is missing"),
    "realm copy gone": (_remove("data-keys/realm.json"), Exit.SETUP, "realm.json is missing"),
    "catalogue gone": (_remove("data/catalogue"), Exit.SETUP, "catalogue.db is missing"),
    "blobs gone": (_remove("data/blobs"), Exit.SETUP, "realm is missing"),
    "CA key gone": (_remove("data-keys/tls/ca-key.pem"), Exit.SETUP, "ca-key.pem is missing"),
    "TLS files gone": (_remove("data-keys/tls"), Exit.SETUP, "tls is missing: restore it from the backup"),
    "other keys": (_other_keys, Exit.SETUP, "of another realm"),
    "other realm file": (_swapped_realm, Exit.SETUP, "of another realm"),
    "other catalogue": (_other_catalogue, Exit.STORAGE, "does not open with this key"),
    "other blob store": (_write("data/blobs/realm", "00" * 16 + "\n"), Exit.STORAGE, "not of the realm"),
    "damaged blob store": (_write("data/blobs/realm", "??"), Exit.STORAGE, "realm file is damaged"),
    "damaged realm file": (_write("data/realm.json", "{}"), Exit.KEYS, "not as Sealgate wrote it"),
    "damaged keyring": (_write("data-keys/keyring.json", "{}"), Exit.KEYS, "not as Sealgate wrote it"),
    "short root secret": (_write("data-keys/root.key", "short"), Exit.KEYS, "root key"),
    "zero root secret": (_write("data-keys/root.key", f"sealgate-root-key v1\n{'00' * 32}\n"), Exit.KEYS, "root key"),
    "root secret is a pipe": (_fifo, Exit.KEYS, "not a regular file"),
    "plain catalogue": (_write("data/catalogue/catalogue.db", "SQLite format 3\0"), Exit.STORAGE, "not encrypted"),
    "keyring open to the group": (_mode("data-keys/keyring.json", 0o640), Exit.KEYS, "chmod 0600"),
    "client.env open to all": (_mode("data-keys/client.env", 0o644), Exit.KEYS, "chmod 0600"),
    "keys open to all": (_mode("data-keys", 0o755), Exit.SETUP, "chmod 0700"),
    "data open to the group": (_mode("data", 0o750), Exit.SETUP, "chmod 0700"),
    "root secret empty": (_write("data-keys/root.key", ""), Exit.KEYS, "is empty; restore it"),
    "repeated root secret": (
        _write("data-keys/root.key", f"sealgate-root-key v1\n{'a7' * 32}\n"), Exit.KEYS, "zero or repeated bytes",
    ),
    "root secret of another keyring": (
        _write("data-keys/root.key", encode_root_file(DataKey(bytes(range(32)))).decode()), Exit.KEYS, "does not open",
    ),
    "root secret open to the group": (_mode("data-keys/root.key", 0o640), Exit.KEYS, "chmod 0600"),
    "keyring empty": (_write("data-keys/keyring.json", ""), Exit.KEYS, "is empty; restore it"),
    "keyring from before a rotation": (
        _from_before_a_rotation("data-keys/keyring.json"), Exit.KEYS, "restore its newest backup",
    ),
    "realm file from before a rotation": (_from_before_a_rotation("data/realm.json"), Exit.KEYS, "over it"),
    "key of the realm switched off": (_key_off, Exit.KEYS, "run `sealgate key enable"),
    "no passphrase": (_behind_a_passphrase(), Exit.KEYS, "passphrase"),
    "wrong passphrase": (
        _behind_a_passphrase("--passphrase-file", "PLACE/pass"), Exit.KEYS, "/pass: the passphrase does not open",
    ),
    "unneeded passphrase": (_passphrase("long enough words"), Exit.KEYS, "remove the passphrase"),
    "passphrase open to all": (_passphrase("long enough words", 0o644), Exit.KEYS, "chmod 0600"),
    "passphrase not there": (_flags("--passphrase-file", "PLACE/none"), Exit.KEYS, "is missing"),
    "certificate not there": (
        _flags("--tls-certificate", "PLACE/none", "--tls-key", "PLACE/none"), Exit.SETUP, "cannot be used",
    ),
    "certificate key open to all": (_open_certificate, Exit.SETUP, "chmod o="),
    "wrong setting": (_flags("--etag", "none"), Exit.USAGE, "setting etag"),
    "unknown flag": (_flags("--unsafe"), Exit.USAGE, "--unsafe"),
}  # fmt: skip


NOT_OF_KEYS = {
    *("catalogue gone", "blobs gone", "CA key gone", "TLS files gone", "other catalogue", "other blob store"),
    *("damaged blob store", "plain catalogue", "client.env open to all", "data open to the group"),
    *("certificate not there", "certificate key open to all", "wrong setting", "unknown flag"),
}


def test_the_documentation_lists_those_of_keys() -> None:
    text = (ROOT / "docs/KEYS.md").read_text().partition("### Keyring and realm")[2].partition("### A KMS")[0]
    listed = [line.removeprefix("- ").partition(":")[0] for line in text.splitlines() if line.startswith("- ")]
    assert listed == [name for name in BAD if name not in NOT_OF_KEYS]
    assert len(listed) >= 25


@pytest.mark.parametrize("case", BAD)
@pytest.mark.usefixtures("quiet_serve")
def test_bad_configurations_are_refused_in_one_line(
    case: str, template: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, code, words = BAD[case]
    for name in ("data", "data-keys"):
        shutil.copytree(template / name, tmp_path / name)
    flags = spoil(tmp_path)
    before = digests(tmp_path)
    got = run(["serve", "--data", str(tmp_path / "data"), *flags])
    line = capsys.readouterr().err
    assert line.count("\n") == 1, line
    assert line.startswith("sealgate: ")
    assert words in line
    assert got == code
    changed = {name for name in before if digests(tmp_path).get(name) != before[name]}
    assert changed <= {"data/catalogue/owner.lock"}, "a refused start changes nothing"


@pytest.mark.usefixtures("quiet_serve")
@pytest.mark.parametrize("lost", ["data", "data-keys"])
def test_a_lost_folder_is_not_made_anew(made: Path, lost: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`mv` and `cp -a` from a backup put a folder inside one that is there already."""
    (made / lost).rename(made / "lost")
    assert run(["serve", "--data", str(made / "data")]) == Exit.SETUP
    assert f"{lost} is empty or missing" in capsys.readouterr().err
    assert not (made / lost).exists()


@pytest.mark.usefixtures("quiet_serve")
def test_other_files_in_the_data_folder_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data").mkdir(mode=0o700)
    (tmp_path / "data/holiday.jpg").write_bytes(b"x")
    assert run(["serve", "--data", str(tmp_path / "data")]) == Exit.SETUP
    assert "holds other files" in capsys.readouterr().err


@pytest.mark.usefixtures("quiet_serve")
def test_a_wrong_key_in_the_kms_is_refused(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = settings_in(made / "second")
    start(other)
    for name in ("keyring.json", "root.key"):
        shutil.copy(made / "second/data-keys" / name, made / "data-keys" / name)
    assert run(["serve", "--data", str(made / "data")]) == Exit.KEYS
    assert LocalKms.provider == "local"


def test_two_processes_do_not_share_a_data_folder(made: Path) -> None:
    folders = Folders.of(settings_in(made))

    async def twice() -> None:
        async with owned(folders), owned(folders):
            raise AssertionError("both were let in")

    with pytest.raises(CommandError, match="another sealgate process") as caught:
        asyncio.run(twice())
    assert caught.value.code is Exit.BUSY


@pytest.mark.usefixtures("quiet_serve")
def test_two_first_starts_do_not_share_a_keys_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each would make a keyring in it, and what one had sealed would be under a key that the other replaced."""
    monkeypatch.setattr("gateway.cli.bootstrap._KEYS_FOLDER_S", 0.1)
    keys = tmp_path / "keys"
    keys.mkdir(mode=0o700)
    descriptor = os.open(keys, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    ports = ("--port", str(free_ports(1)[0]), "--admin-port", str(free_ports(1)[0]), "--http-port", "0")
    assert run(["serve", "--data", str(tmp_path / "data"), "--keys", str(keys), *ports]) == Exit.BUSY
    os.close(descriptor)
    assert "has been working with" in capsys.readouterr().err
    assert list(keys.iterdir()) == []


@pytest.mark.usefixtures("quiet_serve")
def test_a_clock_before_this_release_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bootstrap, "utc_now", lambda: datetime(2020, 1, 1, tzinfo=UTC))
    assert run(["serve", "--data", str(tmp_path / "data")]) == Exit.SETUP
    assert "the clock says 2020-01-01" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def _credentials(place: Path) -> list[str]:
    _write("credentials", "AWS_ACCESS_KEY_ID=a\nAWS_SECRET_ACCESS_KEY=b\n")(place)
    return [
        *("--blob-store", "s3", "--s3-endpoint", f"https://127.0.0.1:{free_ports(1)[0]}", "--s3-bucket", "blobs"),
        *("--s3-credentials-file", str(place / "credentials"), "--s3-tries", "1"),
    ]


def _kms(place: Path) -> list[str]:
    _write("kms.toml", '[bao]\ntype = "vault"\naddress = "https://127.0.0.1:1"\nkey = "k"\ntoken_file = "/nowhere"\n')(
        place
    )
    return ["--kms", "bao", "--kms-file", str(place / "kms.toml")]


def _database(place: Path) -> list[str]:
    _write("password", "a password")(place)
    return [
        *("--catalogue", "postgres", "--postgres-host", "127.0.0.1", "--postgres-port", str(free_ports(1)[0])),
        *("--postgres-password-file", str(place / "password"), "--postgres-ca-file", str(_authority(place))),
    ]


def _authority(place: Path) -> Path:
    make_certificates(TlsFiles(place / "tls"), ("localhost",), datetime.now(UTC))
    return place / "tls/ca.pem"


HOPELESS = {
    "weak passphrase": (_passphrase("short"), Exit.KEYS, "pass: the passphrase must have"),
    "passphrase not there": (_flags("--passphrase-file", "PLACE/none"), Exit.KEYS, "is missing"),
    "certificate not there": (
        _flags("--tls-certificate", "PLACE/none", "--tls-key", "PLACE/none"), Exit.SETUP, "that this user may read",
    ),
    "authorities of clients not there": (_flags("--tls-client-ca", "PLACE/none"), Exit.SETUP, "give a PEM file"),
    "secret of webhooks not there": (
        _flags("--webhooks", "hook=https://localhost/", "--webhook-secret-file", "PLACE/none"), Exit.KEYS, "is missing",
    ),
    "blobs nowhere": (_flags("--blobs", "PLACE/none/blobs"), Exit.SETUP, "correct --blobs"),
    "anchor nowhere": (_flags("--anchor", "PLACE/none/anchor"), Exit.SETUP, "correct --anchor"),
    "no such KMS": (_kms, Exit.BUSY, "the KMS bao: nothing listens at its address"),
    "no bucket": (_credentials, Exit.BUSY, "the backend cannot be used"),
    "no database": (_database, Exit.BUSY, "see postgres_host and postgres_port"),
}  # fmt: skip
"""First starts that cannot end well: further flags, exit code, words of the line."""


@pytest.mark.usefixtures("quiet_serve")
@pytest.mark.parametrize("case", HOPELESS)
def test_a_first_start_that_cannot_end_well_leaves_nothing(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags, code, words = HOPELESS[case]
    port, admin, http = map(str, free_ports(3))
    ports = ["--port", port, "--admin-port", admin, "--http-port", http]
    given = flags(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert run(["serve", "--data", str(tmp_path / "data"), *ports, *given]) == code
    said = capsys.readouterr()
    assert words in said.err
    assert said.err.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_start_that_another_one_overtakes_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it then meets in the bucket or the database is what the other made."""
    settings = settings_in(tmp_path, blobs=tmp_path / "none/blobs")
    folders = Folders.of(settings)

    def overtaken(_: ServerSettings) -> None:
        (tmp_path / "data").mkdir()
        (tmp_path / "data/realm.json").write_text("{}")

    monkeypatch.setattr(rehearsal, "check_ports", overtaken)
    asyncio.run(rehearse(settings, folders, server_settings(settings, folders)))
    shutil.rmtree(tmp_path / "data")
    monkeypatch.setattr(rehearsal, "check_ports", lambda _: None)
    with pytest.raises(SetupError, match="correct --blobs"):
        asyncio.run(rehearse(settings, folders, server_settings(settings, folders)))
