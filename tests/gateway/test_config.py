"""The settings table: where values come from, what is refused, and that its documentation is true."""

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import DIVIDED, Settings, load_settings, setting_rows, settings_markdown
from gateway.errors import SettingsError

ROOT = Path(__file__).parents[2]


def refused(flags: dict[str, str] | None = None, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(flags, environ=environ or {})
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_defaults_stand_without_any_source() -> None:
    settings = load_settings(environ={})
    assert settings == Settings()
    assert (settings.data, settings.keys) == (Path("sealgate-data"), Path("sealgate-keys"))
    assert (settings.port, settings.admin_port, settings.http_port) == (9443, 9444, 9480)
    assert settings.host == "127.0.0.1"


def test_sources_rise_from_file_over_environment_to_flags(tmp_path: Path) -> None:
    file = tmp_path / "sealgate.toml"
    file.write_text('region = "file-1"\nport = 1001\netag = "opaque"\ndomains = ["a.test", "b.test"]\n')
    environ = {"SEALGATE_CONFIG": str(file), "SEALGATE_REGION": "environment-1", "SEALGATE_PORT": "1002"}
    settings = load_settings({"port": "1003"}, environ=environ)
    assert (settings.etag, settings.region, settings.port) == ("opaque", "environment-1", 1003)
    assert settings.domains == ("a.test", "b.test")


def test_config_flag_overrules_its_variable(tmp_path: Path) -> None:
    (tmp_path / "one.toml").write_text('region = "one-1"\n')
    (tmp_path / "two.toml").write_text('region = "two-2"\n')
    environ = {"SEALGATE_CONFIG": str(tmp_path / "one.toml")}
    assert load_settings(environ=environ).region == "one-1"
    assert load_settings(config=tmp_path / "two.toml", environ=environ).region == "two-2"


def test_nothing_is_read_behind_the_back_of_load_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEALGATE_REGION", "other-1")
    assert Settings().region == "us-east-1"
    assert load_settings().region == "other-1"


def test_ports_and_keys_follow_from_what_is_given() -> None:
    settings = load_settings({"data": "/srv/x", "port": "7000"}, environ={})
    assert settings.keys == Path("/srv/x-keys")
    assert (settings.admin_port, settings.http_port) == (7001, 7002)
    assert load_settings({"port": "7000", "http_port": "0", "admin_port": "7009"}, environ={}).http_port == 0


def test_the_monitor_listener_needs_its_authority_and_a_port_of_its_own() -> None:
    given = {"monitor_port": "9446", "monitor_client_ca": "/ca.pem", "host": "0.0.0.0"}  # noqa: S104
    assert load_settings(given, environ={}).monitor_host == "0.0.0.0"  # noqa: S104
    assert "belong together" in refused({"monitor_port": "9446"})
    assert "must differ" in refused(given | {"monitor_port": "9444"})


def test_domains_are_a_list_with_commas() -> None:
    assert load_settings({"domains": "s3.Localhost, b.test"}, environ={}).domains == ("s3.localhost", "b.test")


def test_unknown_names_are_errors_in_every_source(tmp_path: Path) -> None:
    assert "SEALGATE_PROT is no setting" in refused(environ={"SEALGATE_PROT": "1"})
    assert "'prot' (from --prot) is no setting" in refused({"prot": "1"})
    file = tmp_path / "sealgate.toml"
    file.write_text("[server]\nport = 1\n")
    message = refused(environ={"SEALGATE_CONFIG": str(file)})
    assert f"'server' (in {file}) is no setting" in message
    assert load_settings(environ={"OTHER_PROT": "1", "sealgate_prot": "1"}) == Settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("data", ""),
        ("keys", " "),
        ("passphrase_file", ""),
        ("workers", "0"),
        ("workers", "2"),
        ("host", "a b"),
        ("host", "http://x"),
        ("host", ""),
        ("port", "0"),
        ("port", "65536"),
        ("port", "-1"),
        ("port", "x"),
        ("port", ""),
        ("port", "65535"),  # leaves no port for the admin listener
        ("admin_host", "0.0.0.0"),  # noqa: S104 - it must be refused
        ("admin_host", "::"),
        ("admin_host", "192.168.1.1"),
        ("admin_host", "example.test"),
        ("admin_port", "9443"),
        ("http_port", "9443"),
        ("http_port", "9444"),
        ("http_port", "65536"),
        ("monitor_port", "9446"),  # without the authority of those who may look
        ("monitor_client_ca", "/only/one"),
        ("monitor_port", "-1"),
        ("monitor_host", "a b"),
        ("domains", "a..b"),
        ("domains", "a b"),
        ("domains", "a,,b"),
        ("domains", ",".join(f"d{number}.test" for number in range(33))),
        ("region", ""),
        ("region", "US-EAST"),
        ("region", "x" * 33),
        ("tls_certificate", "/only/one"),
        ("tls_key", "/only/one"),
        ("etag", "sha1"),
        ("presigned_v2", "perhaps"),
        ("max_buckets_per_account", "0"),
        ("max_document_bytes", "1"),
        ("max_document_bytes", str(1 << 40)),
        ("max_header_bytes", "100"),
        ("max_requests", "0"),
        ("max_connections", "1"),
        ("header_timeout_s", "0"),
        ("header_timeout_s", "nan"),
        ("header_timeout_s", "inf"),
        ("body_timeout_s", "0"),
        ("idle_timeout_s", "1e9"),
        ("drain_timeout_s", "-1"),
        ("inline_max_bytes", "-1"),
        ("inline_max_bytes", "65537"),
        ("read_ahead_bytes", "1"),
        ("wrapping", "none"),
        ("key_cache_s", "0"),
        ("key_cache_s", "301"),
        ("kms_deadline_s", "0"),
        ("canary_interval_s", "0"),
        ("condemned_grace_s", "-1"),
        ("orphan_grace_s", "60"),
        ("sweep_interval_s", "0"),
        ("completed_upload_memory_s", "0"),
        ("log_level", "trace"),
        ("log_format", "xml"),
        ("log_names", "2"),
    ],
)
def test_values_that_cannot_stand_are_refused_in_one_line(name: str, value: str) -> None:
    from_flag = refused({name: value})
    from_environment = refused(environ={"SEALGATE_" + name.upper(): value})
    for message in (from_flag, from_environment):
        assert message.startswith(("setting ", "settings: "))


def test_several_workers_are_told_what_they_need() -> None:
    message = refused({"workers": "2"})
    assert "PostgreSQL" in message
    assert "leave it at 1" in message
    given = {"workers": "2", "catalogue": "postgres", "postgres_password_file": "p"}
    assert load_settings(given, environ={}).workers == 2


def test_workers_divide_what_the_machine_bears_and_are_told_all_else() -> None:
    given = {"catalogue": "postgres", "postgres_password_file": "p", "webhooks": "a=https://h/x", "hosts": "a,b"}
    whole = load_settings(given | {"workers": "4", "max_requests": "1002"}, environ={})
    told = json.loads(json.dumps(whole.of_one_worker()))
    one = Settings(**told)
    assert (one.max_requests, one.workers) == (250, 1)
    assert one.body_memory_bytes == whole.body_memory_bytes // 4
    assert one.postgres_connections == whole.postgres_connections
    assert one.hosts == whole.hosts
    assert one.webhooks == whole.webhooks
    changed = {name for name in told if getattr(one, name) != getattr(whole, name)}
    assert changed == {"workers", *DIVIDED}
    many = load_settings(given | {"workers": "64"}, environ={})
    assert many.of_one_worker()["s3_held_bytes"] == 16 << 20, "never less than what one alone may be given"


def test_a_refusal_names_the_source() -> None:
    assert "setting port (from --port)" in refused({"port": "x"})
    assert "setting port (from SEALGATE_PORT)" in refused(environ={"SEALGATE_PORT": "x"})


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ({"port": "70000"}, "setting port (from --port): takes an integer from 1 to 65,535"),
        ({"port": "x"}, "setting port (from --port): takes an integer from 1 to 65,535"),
        ({"port": "0"}, "setting port (from --port): takes an integer from 1 to 65,535"),
        ({"port": "9443.5"}, "setting port (from --port): takes an integer from 1 to 65,535"),
        ({"log_format": "xml"}, "setting log_format (from --log-format): takes text or json"),
        ({"kms_deadline_s": "inf"}, "setting kms_deadline_s (from --kms-deadline-s): takes a number from 0.1 to 30"),
        (
            {"host": "300.1.1.1"},
            "setting host (from --host): takes an IP address, such as 127.0.0.1 or 0.0.0.0, or a host name",
        ),
    ],
)
def test_a_refusal_says_what_can_stand(flags: dict[str, str], line: str) -> None:
    assert refused(flags) == line


def test_a_default_without_room_says_that_it_follows_from_another_setting() -> None:
    line = refused({"port": "65535"})
    assert line.startswith("setting admin_port: its default, port + 1, is not an integer from 1 to 65,535: give")
    assert line.endswith("give --admin-port, or lower what it follows from")


@pytest.mark.parametrize("content", [b"port = ", b"\xff\xfe", b"port = 1\nport = 2\n"])
def test_files_that_are_not_toml_are_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "sealgate.toml"
    file.write_bytes(content)
    assert str(file) in refused(environ={"SEALGATE_CONFIG": str(file)})


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "is not there" in refused(environ={"SEALGATE_CONFIG": str(tmp_path / "none.toml")})
    assert "is not there" in refused(environ={"SEALGATE_CONFIG": str(tmp_path)})


@given(st.dictionaries(st.sampled_from([row.name for row in setting_rows()]), st.text(max_size=20), max_size=4))
def test_any_flags_give_settings_or_our_error(flags: dict[str, str]) -> None:
    with suppress(SettingsError):
        assert load_settings(flags, environ={}).port


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().port = 1


def test_every_setting_is_documented_as_it_is() -> None:
    assert (ROOT / "docs" / "SETTINGS.md").read_text() == settings_markdown()
    assert all(row.text.endswith(".") for row in setting_rows())
    assert len({row.flag for row in setting_rows()}) == len(Settings.model_fields)
