"""Tokens are renewed before they end, taken anew when they die, and never in a storm. Clock and KMS are fakes."""

import threading
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from keys.errors import KeyringError, KmsDenied, KmsMisconfigured, KmsUnavailable
from keys.kms.vault_login import (
    LOGIN_PAUSE_S,
    AppRole,
    ClientCertificate,
    Login,
    TokenFile,
    TokenRefused,
    read_secret,
)
from tests.servers.openbao import private_file


class FakeVault:
    """A KMS that knows tokens, and counts what it is asked."""

    def __init__(self, ttl_s: float = 60.0) -> None:
        self.now = 1000.0
        self.ttl_s = ttl_s
        self.renewable = True
        self.alive: set[str] = set()
        self.asked: Counter[str] = Counter()
        self.refuses_login = False
        self.denies: set[str] = set()
        self.fault: Exception | None = None
        self.renewed_ttl_s = ttl_s
        self.answer: Any = None
        self._lock = threading.Lock()

    def send(self, method: str, path: str, token: str, body: Mapping[str, Any] | None) -> Any:
        with self._lock:
            self.asked[path] += 1
            if self.fault is not None:
                raise self.fault
            if path.endswith("/login"):
                if self.refuses_login:
                    raise TokenRefused
                if self.answer is not None:
                    return self.answer
                fresh = f"token-{self.asked[path]}"
                self.alive.add(fresh)
                return self._auth(fresh, self.ttl_s)
            if token not in self.alive or path in self.denies:
                raise TokenRefused
            if path == "auth/token/renew-self":
                return self._auth(token, self.renewed_ttl_s)
            if path == "auth/token/lookup-self":
                return {"data": {"ttl": self.ttl_s, "renewable": self.renewable, "policies": ["sealgate"]}}
            return {"data": {"token": token}}

    def _auth(self, token: str, ttl_s: float) -> Any:
        return {"auth": {"client_token": token, "lease_duration": ttl_s, "renewable": self.renewable}}

    @property
    def logins(self) -> int:
        return self.asked["auth/cert/login"]


@pytest.fixture
def vault() -> FakeVault:
    return FakeVault()


@pytest.fixture
def login(vault: FakeVault) -> Login:
    return Login("test", ClientCertificate("gateway"), vault.send, lambda: vault.now)


def used(login: Login) -> str:
    return str(login.call("GET", "thing")["data"]["token"])


def test_one_login_serves_many_calls(vault: FakeVault, login: Login) -> None:
    assert {used(login) for _ in range(5)} == {"token-1"}
    assert vault.logins == 1


def test_a_token_is_renewed_before_it_ends(vault: FakeVault, login: Login) -> None:
    used(login)
    vault.now += 39
    used(login)
    assert vault.asked["auth/token/renew-self"] == 0
    for _ in range(50):
        vault.now += 20
        assert used(login) == "token-1"
    assert vault.logins == 1
    assert 15 < vault.asked["auth/token/renew-self"] < 30


def test_at_the_end_of_its_longest_life_another_is_taken(vault: FakeVault, login: Login) -> None:
    used(login)
    vault.now += 41
    vault.renewed_ttl_s = 19
    assert used(login) == "token-2"


@pytest.mark.parametrize("why", ["not renewable", "refused"])
def test_what_cannot_be_renewed_is_replaced(vault: FakeVault, login: Login, why: str) -> None:
    vault.renewable = why != "not renewable"
    used(login)
    vault.now += 41
    if why == "refused":
        vault.denies.add("auth/token/renew-self")
    assert used(login) == "token-2"
    assert vault.asked["auth/token/renew-self"] == (1 if why == "refused" else 0)


def test_a_renewal_that_fails_leaves_the_token_that_lives(vault: FakeVault, login: Login) -> None:
    used(login)
    vault.now += 41
    vault.refuses_login = True
    vault.denies.add("auth/token/renew-self")
    assert used(login) == "token-1"
    assert used(login) == "token-1"
    assert vault.logins == 2, "the next try has to wait"
    vault.now += 20
    vault.alive.clear()
    with pytest.raises(KmsDenied, match="refuses the login"):
        used(login)


def test_while_one_renews_the_others_go_on(vault: FakeVault, login: Login) -> None:
    used(login)
    vault.now += 41
    with login._lock:
        assert used(login) == "token-1"
    assert vault.asked["auth/token/renew-self"] == 0


def test_somebody_renewed_it_meanwhile(vault: FakeVault, login: Login) -> None:
    used(login)
    old = login._token
    vault.now += 41
    lock = login._lock

    class Slow:
        def acquire(self, blocking: bool = True) -> bool:
            login._lock = lock
            assert used(login) == "token-1"
            return lock.acquire(blocking)

        def release(self) -> None:
            raise AssertionError("the lock that was taken is released")

    login._lock = Slow()  # type: ignore[assignment]
    login._current()
    assert login._token is not old
    assert vault.asked["auth/token/renew-self"] == 1


def test_a_token_that_never_ends_is_never_renewed(vault: FakeVault, login: Login) -> None:
    vault.ttl_s = 0
    used(login)
    vault.now += 1e9
    assert used(login) == "token-1"
    assert vault.logins == 1
    assert vault.asked["auth/token/renew-self"] == 0


def test_a_token_that_died_early_is_replaced_at_once_and_once(vault: FakeVault, login: Login) -> None:
    used(login)
    vault.now += LOGIN_PAUSE_S
    vault.alive.clear()
    with ThreadPoolExecutor(16) as pool:
        tokens = list(pool.map(lambda _: used(login), range(200)))
    assert set(tokens) == {"token-2"}
    assert vault.logins == 2


def test_tokens_that_die_all_the_time_make_no_storm(vault: FakeVault, login: Login) -> None:
    used(login)
    vault.now += LOGIN_PAUSE_S
    failures = 0
    for _ in range(1000):
        vault.alive.clear()
        try:
            used(login)
        except KmsUnavailable:
            failures += 1
        vault.now += 0.01
    assert failures > 900
    assert vault.logins <= 4


def test_a_policy_that_refuses_makes_no_login(vault: FakeVault, login: Login) -> None:
    used(login)
    vault.now += LOGIN_PAUSE_S
    vault.denies.add("thing")
    for _ in range(500):
        with pytest.raises(KmsDenied, match="see the policy"):
            used(login)
        vault.now += 0.01
    assert vault.logins == 1
    assert vault.asked["auth/token/lookup-self"] <= 2


def test_a_fresh_token_that_is_refused_is_a_matter_of_policy(vault: FakeVault, login: Login) -> None:
    used(login)
    vault.now += LOGIN_PAUSE_S
    vault.alive.clear()
    vault.denies.add("thing")
    with pytest.raises(KmsDenied, match="does not allow GET thing"):
        used(login)


def test_a_refused_login_is_not_tried_by_everybody(vault: FakeVault, login: Login) -> None:
    vault.refuses_login = True
    for _ in range(300):
        with pytest.raises(KmsDenied, match="refuses the login"):
            used(login)
        vault.now += 0.01
    assert vault.logins == 1
    vault.refuses_login = False
    vault.now += LOGIN_PAUSE_S
    assert used(login) == "token-2"


def test_a_kms_that_is_away_is_asked_again_at_once(vault: FakeVault, login: Login) -> None:
    vault.fault = KmsUnavailable("away")
    with pytest.raises(KmsUnavailable):
        used(login)
    vault.fault = None
    assert used(login) == "token-2"


@pytest.mark.parametrize("answer", [{"auth": None}, {}, {"auth": {"client_token": "x", "lease_duration": "soon"}}])
def test_what_is_no_token_is_none(vault: FakeVault, login: Login, answer: Any) -> None:
    vault.answer = answer
    with pytest.raises(KmsUnavailable, match="no token"):
        used(login)


def test_a_token_comes_from_a_file_and_is_read_again_when_it_died(vault: FakeVault, tmp_path: Path) -> None:
    file = private_file(tmp_path / "token", "one\n")
    vault.alive |= {"one", "two"}
    login = Login("test", TokenFile(file), vault.send, lambda: vault.now)
    assert used(login) == "one"
    vault.now += LOGIN_PAUSE_S
    vault.alive.remove("one")
    file.write_text("two\n")
    assert used(login) == "two"


def test_a_role_signs_in_with_its_secret(tmp_path: Path) -> None:
    seen: list[Any] = []

    def send(method: str, path: str, token: str, body: Mapping[str, Any] | None) -> Any:
        seen.append((method, path, token, body))
        return {"auth": {"client_token": "t", "lease_duration": 60, "renewable": True}}

    role = AppRole("the-role", private_file(tmp_path / "secret", "the-secret\n"), "roles")
    assert role.sign_in(send).value == "t"
    assert seen == [("POST", "auth/roles/login", "", {"role_id": "the-role", "secret_id": "the-secret"})]


def test_a_root_token_is_refused(tmp_path: Path) -> None:
    file = private_file(tmp_path / "token", "root-token")
    told = {"data": {"ttl": 0, "renewable": False, "policies": ["root"]}}
    with pytest.raises(KmsMisconfigured, match="root token"):
        TokenFile(file).sign_in(lambda *_: told)


@pytest.mark.parametrize("text", ["two words", "two\nlines", "\n", "schl\u00fcssel", "tab\there"])
def test_a_secret_file_holds_one_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(KmsMisconfigured, match="one line"):
        read_secret(private_file(tmp_path / "secret", text))


def test_a_secret_file_is_ours_alone(tmp_path: Path) -> None:
    file = private_file(tmp_path / "secret", "x")
    file.chmod(0o640)
    with pytest.raises(KeyringError, match="chmod 0600"):
        read_secret(file)


def test_a_token_is_not_shown(vault: FakeVault, login: Login, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    used(login)
    assert "signed in to the KMS test" in caplog.text
    for shown in (repr(login), repr(login._token), caplog.text):
        assert "token-1" not in shown
