"""Who else asks: a second account, and nobody."""

from collections.abc import Iterator
from typing import Any

import pytest
from botocore import UNSIGNED

from tests.blackbox.clients import s3_client
from tests.blackbox.process import Gateway


@pytest.fixture(scope="session")
def guest(gateway: Gateway) -> Iterator[Any]:
    """A client of an account that owns nothing."""
    client = s3_client(gateway, gateway.create_account("guest"), signature_version="s3v4")
    yield client
    client.close()


@pytest.fixture(scope="session")
def guest_id(guest: Any) -> str:
    """Its canonical id: whoever lists his buckets learns his own."""
    return str(guest.list_buckets()["Owner"]["ID"])


@pytest.fixture(scope="session")
def nobody(gateway: Gateway) -> Iterator[Any]:
    """A client that signs nothing."""
    client = s3_client(gateway, signature_version=UNSIGNED)
    yield client
    client.close()
