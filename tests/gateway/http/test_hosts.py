from pathlib import Path

import pytest

from gateway.http.hosts import AcceptedHosts, names_in_certificate
from tests.gateway.http.edge import make_certificate

SERVED = frozenset({"s3.example.test", "*.s3.example.test", "192.0.2.7", "2001:db8::7"})


def hosts(*given: str) -> AcceptedHosts:
    made = AcceptedHosts(given)
    made.serve(SERVED)
    return made


@pytest.mark.parametrize(
    "host",
    [
        "s3.example.test",
        "S3.Example.TEST",
        "s3.example.test.",
        "bucket.s3.example.test",
        "192.0.2.7",
        "[2001:db8::7]",
        "[2001:0DB8:0:0:0:0:0:7]",
        "proxy.example.test",
        "192.0.2.8",
    ],
)
def test_names_of_the_certificate_and_of_the_setting_are_ours(host: str) -> None:
    assert host in hosts("Proxy.example.test", "192.0.2.8")


@pytest.mark.parametrize(
    "host",
    [
        "",
        "example.test",
        "a.b.s3.example.test",
        ".s3.example.test",
        "*.s3.example.test.evil",
        "s3.example.test.evil",
        "xs3.example.test",
        "192.0.2.70",
        "192.0.2.7.evil",
        "[2001:db8::8]",
        "2001:db8::7",
        "[192.0.2.7]",
        "[s3.example.test]",
        "[[2001:db8::7]]",
        "localhost",
        b"s3.example.test",
    ],
)
def test_nothing_else_is(host: object) -> None:
    assert host not in hosts()


def test_without_a_certificate_nothing_is_ours() -> None:
    assert "localhost" not in AcceptedHosts()


def test_a_renewed_certificate_takes_its_old_names_away() -> None:
    made = hosts()
    made.serve(frozenset({"new.example.test"}))
    assert "new.example.test" in made
    assert "s3.example.test" not in made


def test_names_are_read_from_the_first_certificate_of_a_chain(tmp_path: Path) -> None:
    pem = make_certificate(tmp_path).certfile.read_bytes()
    assert names_in_certificate(pem + pem) == {"localhost", "127.0.0.1"}
    with pytest.raises(ValueError, match="PEM"):
        names_in_certificate(b"")
