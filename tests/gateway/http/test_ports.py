"""Addresses that are free, and those that are not."""

import socket

import pytest

from gateway.errors import ServeError
from gateway.http.ports import Endpoint, check_free


def test_a_free_port_stays_free() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
    for _ in range(2):
        check_free(Endpoint("127.0.0.1", port), "port")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])  # noqa: S104 - nothing is to be bound
def test_a_port_in_use_is_told_with_what_to_do(host: str) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen(1)
        port = holder.getsockname()[1]
        with pytest.raises(ServeError, match=rf"{host} port {port} .*Address already in use.*another --admin-port$"):
            check_free(Endpoint(host, port), "admin-port")


def test_an_address_of_another_machine_is_told() -> None:
    with pytest.raises(ServeError, match=r"192\.0\.2\.1 port 9443 .*correct --host"):
        check_free(Endpoint("192.0.2.1", 9443), "port")
