"""Access tokens are renewed before they end, replaced where they are refused, and never in a storm. Fakes all."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from keys.errors import KeysError, KmsDenied, KmsUnavailable
from keys.kms.access_tokens import LOGIN_PAUSE_S, UNREACHED_PAUSE_S, AccessToken, AccessTokens

TTL_S = 60.0


class FakeEndpoint:
    """Gives token-1, token-2 ...; `fault` is raised instead. `gate` lets a login wait."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.logins = 0
        self.fault: KeysError | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.tokens = AccessTokens("cloud", self.sign_in, lambda: self.now)

    def sign_in(self) -> AccessToken:
        self.logins += 1
        self.gate.wait(5)
        if self.fault is not None:
            raise self.fault
        return AccessToken(f"token-{self.logins}", TTL_S)


@pytest.fixture
def endpoint() -> FakeEndpoint:
    return FakeEndpoint()


def test_one_login_for_all(endpoint: FakeEndpoint) -> None:
    endpoint.gate.clear()
    with ThreadPoolExecutor(8) as pool:
        told = [pool.submit(endpoint.tokens.current) for _ in range(40)]
        endpoint.gate.set()
        assert {future.result() for future in told} == {"token-1"}
    assert endpoint.logins == 1


def test_a_token_is_renewed_at_two_thirds_of_its_life(endpoint: FakeEndpoint) -> None:
    assert endpoint.tokens.current() == "token-1"
    endpoint.now += TTL_S * 0.66
    assert endpoint.tokens.current() == "token-1"
    endpoint.now += TTL_S * 0.01
    assert endpoint.tokens.current() == "token-2"


def test_others_go_on_while_one_renews(endpoint: FakeEndpoint) -> None:
    endpoint.tokens.current()
    endpoint.now += TTL_S * 0.7
    endpoint.gate.clear()
    with ThreadPoolExecutor(1) as pool:
        renewing = pool.submit(endpoint.tokens.current)
        while endpoint.logins < 2:
            pass
        assert endpoint.tokens.current() == "token-1"
        endpoint.gate.set()
        assert renewing.result() == "token-2"
    assert endpoint.tokens.current() == "token-2"


def test_a_token_that_was_renewed_meanwhile_is_not_renewed_again(endpoint: FakeEndpoint) -> None:
    endpoint.tokens.current()

    def clock() -> float:
        """Somebody renews just when we look at the time."""
        endpoint.tokens._token = AccessToken("token-2", TTL_S)
        return endpoint.now + TTL_S * 0.7

    endpoint.tokens._clock = clock
    assert endpoint.tokens.current() == "token-1", "which still lives"
    assert endpoint.logins == 1


def test_a_renewal_that_fails_leaves_the_token(endpoint: FakeEndpoint, caplog: pytest.LogCaptureFixture) -> None:
    endpoint.tokens.current()
    endpoint.fault = KmsUnavailable("away")
    endpoint.now += TTL_S * 0.7
    assert endpoint.tokens.current() == "token-1"
    assert "is not renewed yet: away" in caplog.text
    endpoint.now += TTL_S * 0.4
    with pytest.raises(KmsUnavailable, match="away"):
        endpoint.tokens.current()
    endpoint.fault = None
    endpoint.now += UNREACHED_PAUSE_S
    assert endpoint.tokens.current() == "token-4"


@pytest.mark.parametrize(
    ("fault", "pause_s"), [(KmsDenied("no"), LOGIN_PAUSE_S), (KmsUnavailable("away"), UNREACHED_PAUSE_S)]
)
def test_a_refusal_is_said_again_from_memory(endpoint: FakeEndpoint, fault: KeysError, pause_s: float) -> None:
    endpoint.fault = fault
    for _ in range(50):
        with pytest.raises(type(fault)):
            endpoint.tokens.current()
    assert endpoint.logins == 1
    endpoint.now += pause_s
    with pytest.raises(type(fault)):
        endpoint.tokens.current()
    assert endpoint.logins == 2
    endpoint.fault = None
    endpoint.now += pause_s
    assert endpoint.tokens.current() == "token-3"


def test_a_token_that_is_refused_is_replaced_once(endpoint: FakeEndpoint) -> None:
    refused = endpoint.tokens.current()
    endpoint.now += LOGIN_PAUSE_S
    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda _: endpoint.tokens.replaced(refused), range(40)))
    assert set(told) == {"token-2"}
    assert endpoint.logins == 2


def test_a_fresh_token_that_is_refused_is_not_replaced_at_once(endpoint: FakeEndpoint) -> None:
    refused = endpoint.tokens.current()
    for _ in range(10):
        with pytest.raises(KmsUnavailable, match="moments ago"):
            endpoint.tokens.replaced(refused)
    assert endpoint.logins == 1


def test_a_token_is_not_shown(endpoint: FakeEndpoint) -> None:
    value = endpoint.tokens.current()
    assert value not in repr(endpoint.tokens._token)
    assert value not in repr(endpoint.tokens)
