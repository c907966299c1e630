"""The client of Google Cloud KMS keeps the contract against a fake over TLS; Google's own service was not there."""

import asyncio
import itertools
import json
import sys
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from keys.deadline import within
from keys.errors import (
    KeyringError,
    KeysError,
    KmsDenied,
    KmsKeyInvalidState,
    KmsKeyNotFound,
    KmsMisconfigured,
    KmsUnavailable,
    UnwrapFailed,
)
from keys.kms.access_tokens import AccessTokens
from keys.kms.base import KeyState
from keys.kms.binding import RecordKms
from keys.kms.gcp import GcpKms, GcpOptions
from keys.kms.https import Reach
from keys.kms.names import KeyNames
from tests.servers.fake_gcp_kms import ALL, DECRYPT, ENCRYPT, GET, GET_VERSION, OTHER_RING, RING, FakeGcpKms
from tests.servers.https_double import Answer, HttpsDouble
from tests.servers.openbao import private_file
from tests.suites.kms import CONTEXT, LIES, OTHER_CONTEXTS, KmsSuite

pytestmark = pytest.mark.anyio

_numbers = itertools.count(1)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def shared_google(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeGcpKms]:
    fake = FakeGcpKms(tmp_path_factory.mktemp("google"))
    with fake.double:
        yield fake


@pytest.fixture(scope="module")
def account(shared_google: FakeGcpKms) -> Path:
    return shared_google.new_account("gateway")


@pytest.fixture(scope="module")
def tokens(shared_google: FakeGcpKms, account: Path) -> AccessTokens:
    """Those of the shared suite: reading the private key anew for each of its tests takes longer than they do."""
    return gcp_kms(shared_google, account, "none")._tokens


@pytest.fixture
def google(shared_google: FakeGcpKms) -> Iterator[FakeGcpKms]:
    yield shared_google
    shared_google.reset()


@pytest.fixture
def key(google: FakeGcpKms) -> str:
    name = f"key-{next(_numbers)}"
    google.new_key(name)
    return name


def gcp_kms(google: FakeGcpKms, account: Path, key: str, **changes: Any) -> GcpKms:
    reach = Reach(google.double.address, google.double.authority.certificate, timeout_s=changes.pop("timeout_s", 5.0))
    return GcpKms("gcp-test", replace(GcpOptions(reach, RING, key, account), **changes), KeyNames("gcp-test"))


def contents(account: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(account.read_text())
    return told


class TestGcpKms(KmsSuite):
    exhaustive_tampering = False

    @pytest.fixture(autouse=True)
    def _server(self, google: FakeGcpKms, account: Path, tokens: AccessTokens) -> None:
        self.google, self.account, self.google_tokens = google, account, tokens

    def make(self, folder: Path) -> GcpKms:
        ring = OTHER_RING if folder.name == "another" else RING
        self.key = f"key-{next(_numbers)}"
        self.google.new_key(self.key, ring)
        kms = gcp_kms(self.google, self.account, self.key, key_ring=ring)
        kms._tokens = kms._unwrap_tokens = self.google_tokens
        return kms

    def add_key(self, kms: RecordKms) -> str:
        name = f"key-{next(_numbers)}"
        self.google.new_key(name)
        return name

    def rotate(self, kms: RecordKms) -> None:
        self.google.rotate(self.key)

    def set_state(self, kms: RecordKms, state: KeyState) -> None:
        names = {KeyState.PENDING_DELETION: "DESTROY_SCHEDULED"}
        self.google.set_state(self.key, names.get(state, state.name))

    async def test_google_binds_realm_and_purpose_as_well(self, kms: RecordKms) -> None:
        _, wrapped = await kms.generate(None, CONTEXT)
        await kms._unwrap_secret(wrapped, OTHER_CONTEXTS["another bucket"])
        for other in ("another realm", "another purpose"):
            with pytest.raises(UnwrapFailed):
                await kms._unwrap_secret(wrapped, OTHER_CONTEXTS[other])

    async def test_a_version_that_did_not_wrap_does_not_unwrap(self, kms: RecordKms) -> None:
        """Google's ciphertext says which version it is of, whatever we say: so what is claimed is bound."""
        _, wrapped = await kms.generate(None, CONTEXT)
        self.rotate(kms)
        with pytest.raises(UnwrapFailed):
            await kms.unwrap(replace(wrapped, kms_key_version="2"), CONTEXT)
        for version in ("0", "", "01", "x", "1/../1"):
            with pytest.raises(KmsKeyNotFound):
                await kms.unwrap(replace(wrapped, kms_key_version=version), CONTEXT)

    async def test_a_new_version_is_learned_once(self, kms: RecordKms) -> None:
        self.rotate(kms)
        _, wrapped = await kms.generate(None, CONTEXT)
        assert wrapped.kms_key_version == "2"
        before = len(self.google.double.requests)
        await kms.generate(None, CONTEXT)
        assert len(self.google.double.requests) == before + 1

    async def test_a_destroyed_version_is_gone(self, kms: RecordKms) -> None:
        _, wrapped = await kms.generate(None, CONTEXT)
        self.set_state(kms, KeyState.DESTROYED)
        assert (await kms.describe(None)).state is KeyState.DESTROYED
        with pytest.raises(KmsKeyInvalidState):
            await kms.unwrap(wrapped, CONTEXT)
        with pytest.raises(KmsKeyInvalidState):
            await kms.prove()


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("RESOURCE_EXHAUSTED", KmsUnavailable),
        ("INTERNAL", KmsUnavailable),
        ("UNAVAILABLE", KmsUnavailable),
        ("DEADLINE_EXCEEDED", KmsUnavailable),
        ("UNAUTHENTICATED", KmsUnavailable),
        ("PERMISSION_DENIED", KmsDenied),
        ("NOT_FOUND", KmsKeyNotFound),
        ("FAILED_PRECONDITION", KmsKeyInvalidState),
    ],
)
async def test_what_google_refuses_is_told_in_our_words(
    google: FakeGcpKms, account: Path, key: str, code: str, error: type[KeysError]
) -> None:
    kms = gcp_kms(google, account, key)
    _, wrapped = await kms.generate(None, CONTEXT)
    google.error = code
    before = len(google.double.requests)
    with pytest.raises(error):
        await kms.unwrap(wrapped, CONTEXT)
    assert len(google.double.requests) == before + 1, "nothing is tried twice"
    google.reset()
    await kms.unwrap(wrapped, CONTEXT)
    await kms.close()


@pytest.mark.parametrize("lie", LIES)
async def test_a_lie_over_the_wire_yields_no_key(google: FakeGcpKms, account: Path, key: str, lie: str) -> None:
    kms = gcp_kms(google, account, key)
    _, wrapped = await kms.generate(None, CONTEXT)
    google.lie = LIES[lie]
    with pytest.raises((UnwrapFailed, KmsUnavailable)):
        await kms.unwrap(wrapped, CONTEXT)
    await kms.close()


async def test_what_is_altered_on_its_way_is_asked_for_again(google: FakeGcpKms, account: Path, key: str) -> None:
    """By the checksums, each way; it is an outage and no damage."""
    kms = gcp_kms(google, account, key)
    _, wrapped = await kms.generate(None, CONTEXT)
    google.garbles = True
    for call in (kms.generate(None, CONTEXT), kms.unwrap(wrapped, CONTEXT)):
        with pytest.raises(KmsUnavailable, match="altered on the way"):
            await call
    google.reset()
    for field in ("ciphertext", "additionalAuthenticatedData"):
        honest = google.double.answer

        def spoils(request: Any, field: str = field, honest: Any = honest) -> Answer:
            body = json.loads(request.body)
            body[f"{field}Crc32c"] = str(int(body[f"{field}Crc32c"]) ^ 1)
            answer: Answer = honest(replace(request, body=json.dumps(body).encode()))
            return answer

        google.double.answer = spoils
        with pytest.raises(KmsUnavailable, match="other bytes than we sent"):
            await kms.unwrap(wrapped, CONTEXT)
        google.double.answer = honest
    await kms.unwrap(wrapped, CONTEXT)
    await kms.close()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"verifiedPlaintextCrc32c": False}, "did not verify"),
        ({"verifiedAdditionalAuthenticatedDataCrc32c": None}, "did not verify"),
        ({"name": f"{OTHER_RING}/cryptoKeys/key/cryptoKeyVersions/1"}, "under another key"),
        ({"name": None}, "under another key"),
        ({"ciphertext": "?"}, "no answer"),
        ({"ciphertextCrc32c": "x"}, "no answer"),
        ({"ciphertextCrc32c": None}, "no answer"),
    ],
)
async def test_an_answer_that_is_not_right_wraps_nothing(
    google: FakeGcpKms, account: Path, key: str, changes: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kms = gcp_kms(google, account, key)
    honest = google.double.answer

    def lies(request: Any) -> Answer:
        answer: Answer = honest(request)
        if not request.path.endswith(":encrypt"):
            return answer
        told = {name: value for name, value in (json.loads(answer.body) | changes).items() if value is not None}
        return replace(answer, body=json.dumps(told).encode())

    monkeypatch.setattr(google.double, "answer", lies)
    with pytest.raises(KmsUnavailable, match=said):
        await kms.generate(None, CONTEXT)
    await kms.close()


async def test_a_version_that_keeps_changing_wraps_nothing(
    google: FakeGcpKms, account: Path, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kms = gcp_kms(google, account, key)
    honest = google.double.answer
    versions = itertools.count(7)

    def lies(request: Any) -> Answer:
        answer: Answer = honest(replace(request, path=request.path.replace("/cryptoKeyVersions/7", "")))
        if not request.path.endswith(":encrypt"):
            return answer
        name = f"{RING}/cryptoKeys/{key}/cryptoKeyVersions/{next(versions)}"
        return replace(answer, body=json.dumps(json.loads(answer.body) | {"name": name}).encode())

    monkeypatch.setattr(google.double, "answer", lies)
    with pytest.raises(KmsUnavailable, match="another version"):
        await kms.generate(None, CONTEXT)
    await kms.close()


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b""),
        (200, b"[]"),
        (200, b"{}"),
        (302, b""),
        (400, b"<html>"),
        (400, b"null"),
        (403, b'"text"'),
        (503, b""),
    ],
)
async def test_what_is_no_answer_is_an_error_of_ours(
    google: FakeGcpKms, account: Path, key: str, body: bytes, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    kms = gcp_kms(google, account, key)
    _, wrapped = await kms.generate(None, CONTEXT)
    asked = []

    def answers(request: Any) -> Answer:
        asked.append(request.path)
        return Answer(status, body, {"Location": f"{google.double.address}/elsewhere"})

    monkeypatch.setattr(google.double, "answer", answers)
    for call in (kms.generate(None, CONTEXT), kms.unwrap(wrapped, CONTEXT), kms.describe(None)):
        with pytest.raises(KeysError) as raised:
            await call
        assert not isinstance(raised.value, UnwrapFailed)
    assert not any("elsewhere" in path for path in asked), "no redirect is followed"
    await kms.close()


async def test_a_silent_kms_is_given_up(google: FakeGcpKms, account: Path, key: str) -> None:
    kms = gcp_kms(google, account, key, timeout_s=0.5)
    await kms.health()
    google.delay_s = 2
    with pytest.raises(KmsUnavailable, match="in time"):
        await within(5, kms.health())
    await kms.close()


async def test_100_calls_of_a_silent_kms_hold_up_nobody(google: FakeGcpKms, account: Path, key: str) -> None:
    """F17: the loop goes on, and each caller has an answer by its deadline, though eight threads are stuck."""
    kms = gcp_kms(google, account, key)
    await kms.health()
    google.delay_s = 30
    calls = [asyncio.create_task(within(1, kms.generate(None, CONTEXT))) for _ in range(100)]
    turns = 0
    while not all(call.done() for call in calls):
        await asyncio.sleep(0.01)
        turns += 1
    assert turns > 20, "the loop was never blocked"
    assert all(isinstance(call.exception(), KmsUnavailable) for call in calls)
    await kms.close()


async def test_another_certificate_is_refused(google: FakeGcpKms, account: Path, key: str, tmp_path: Path) -> None:
    stranger = FakeGcpKms(tmp_path)
    with stranger.double as double:
        known = gcp_kms(google, account, key)
        await known.health()
        wrong = Reach(double.address, google.double.authority.certificate)
        elsewhere = Reach(double.address, double.authority.certificate)
        for reach, said in ((wrong, "not of the authorities"), (elsewhere, "another host")):
            if reach is elsewhere:
                double.show_certificate(*double.authority.server("elsewhere", ["elsewhere.example"]))
            kms = gcp_kms(google, account, key, reach=reach)
            kms._tokens = known._tokens  # the token endpoint is at the place that it was
            with pytest.raises(KmsUnavailable, match=said):
                await kms.health()
            await kms.close()
        assert not double.requests
        await known.close()


async def test_a_token_endpoint_of_another_certificate_gets_no_assertion(
    google: FakeGcpKms, key: str, tmp_path: Path
) -> None:
    stranger = FakeGcpKms(tmp_path)
    with stranger.double as double:
        kms = gcp_kms(google, stranger.new_account("gateway"), key)
        with pytest.raises(KmsUnavailable, match=r"token endpoint.*not of the authorities"):
            await kms.health()
        assert not double.requests
        await kms.close()


async def test_the_environment_decides_nothing(
    google: FakeGcpKms, account: Path, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere")
    monkeypatch.setenv("GOOGLE_CLOUD_UNIVERSE_DOMAIN", "nowhere.example")
    kms = gcp_kms(google, account, key)
    await kms.prove()
    await kms.close()


async def test_who_wraps_need_not_be_who_unwraps(google: FakeGcpKms, key: str) -> None:
    wraps = google.new_account("wraps", {ENCRYPT, GET})
    unwraps = google.new_account("unwraps", {DECRYPT})
    kms = gcp_kms(google, wraps, key, unwrap_credentials_file=unwraps)
    await kms.prove()
    data_key, wrapped = await kms.generate(None, CONTEXT)
    assert await kms.unwrap(wrapped, CONTEXT) == data_key
    with pytest.raises(UnwrapFailed):  # nobody here may look at versions, which only tells better what is wrong
        await kms.unwrap(replace(wrapped, kms_key_version="99"), CONTEXT)
    with pytest.raises(KmsDenied):
        await gcp_kms(google, wraps, key).unwrap(wrapped, CONTEXT)
    with pytest.raises(KmsDenied):
        await gcp_kms(google, unwraps, key).generate(None, CONTEXT)
    await kms.close()


@pytest.mark.parametrize("permission", [ENCRYPT, DECRYPT, GET])
async def test_no_permission_can_be_left_out(google: FakeGcpKms, key: str, permission: str) -> None:
    kms = gcp_kms(google, google.new_account("less", ALL - {permission, GET_VERSION}), key)
    with pytest.raises(KmsDenied):
        await kms.prove()
    await kms.close()


async def test_a_token_that_ends_is_replaced_once(google: FakeGcpKms, account: Path, key: str) -> None:
    kms = gcp_kms(google, account, key)
    _, wrapped = await kms.generate(None, CONTEXT)
    google.tokens.clear()
    kms._tokens._taken_at -= 60
    logins = google.logins
    await asyncio.gather(*(kms.unwrap(wrapped, CONTEXT) for _ in range(50)))
    assert google.logins == logins + 1
    google.tokens.clear()
    with pytest.raises(KmsUnavailable, match="moments ago"):
        await kms.unwrap(wrapped, CONTEXT)
    assert google.logins == logins + 1, "a KMS that ends every token is not stormed"
    await kms.close()


async def test_a_fresh_token_that_is_refused_denies(google: FakeGcpKms, account: Path, key: str) -> None:
    kms = gcp_kms(google, account, key)
    await kms.health()
    kms._tokens._taken_at -= 60
    google.error = "UNAUTHENTICATED"
    with pytest.raises(KmsDenied, match="takes no token"):
        await kms.health()
    await kms.close()


async def test_an_account_that_was_ended_is_denied_without_a_storm(google: FakeGcpKms, key: str) -> None:
    kms = gcp_kms(google, google.new_account("ended"), key)
    await kms.health()
    google.end_account("ended")
    google.tokens.clear()
    kms._tokens._taken_at -= 60
    logins = google.logins
    for _ in range(20):
        with pytest.raises(KmsDenied, match="renew its key"):
            await kms.health()
    assert google.logins == logins + 1
    await kms.close()


async def test_a_key_file_that_was_replaced_is_read_anew(google: FakeGcpKms, key: str) -> None:
    file = google.new_account("renewed")
    kms = gcp_kms(google, file, key)
    await kms.health()
    file.write_text(google.new_account("renewed-2").read_text())
    google.tokens.clear()
    kms._tokens._taken_at -= 60
    await kms.health()
    await kms.close()


@pytest.mark.parametrize("answer", [Answer(503), Answer(200, b"{}"), Answer(200, b"<html>"), Answer(302)])
async def test_a_token_endpoint_that_fails(
    google: FakeGcpKms, account: Path, key: str, answer: Answer, tmp_path: Path
) -> None:
    with HttpsDouble(tmp_path, lambda _: answer, google.double.authority) as double:
        told = contents(account) | {"token_uri": f"{double.address}/token"}
        kms = gcp_kms(google, private_file(tmp_path / "account", json.dumps(told)), key)
        with pytest.raises((KmsUnavailable, KmsDenied)):
            await within(10, kms.health())
        await kms.close()


@pytest.mark.parametrize(
    "changes",
    [
        {"type": "authorized_user"},
        {"token_uri": "http://localhost/token"},
        {"token_uri": 7},
        {"token_uri": "https://"},
        {"private_key": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"},
        {"private_key": None},
        {"client_email": None},
    ],
)
async def test_files_that_hold_no_service_account(
    google: FakeGcpKms, account: Path, key: str, tmp_path: Path, changes: dict[str, Any]
) -> None:
    told = contents(account) | changes
    file = private_file(tmp_path / "account", json.dumps({name: part for name, part in told.items() if part}))
    with pytest.raises(KmsMisconfigured, match="JSON key of a service account"):
        await gcp_kms(google, file, key).health()


@pytest.mark.parametrize("text", ["", "[]", "not json", '"text"', "[" * 9000])
async def test_files_that_are_no_json_object(google: FakeGcpKms, key: str, tmp_path: Path, text: str) -> None:
    with pytest.raises((KmsMisconfigured, KeyringError)):
        await gcp_kms(google, private_file(tmp_path / "account", text), key).health()


async def test_an_asymmetric_key_is_unfit(google: FakeGcpKms, account: Path) -> None:
    google.new_key("signs", purpose="ASYMMETRIC_SIGN")
    kms = gcp_kms(google, account, "signs")
    with pytest.raises(KmsMisconfigured, match="is not symmetric"):
        await kms.prove()
    with pytest.raises(KmsKeyInvalidState):
        await kms.generate(None, CONTEXT)
    await kms.close()


async def test_its_client_is_asked_for_only_when_it_is_used(
    google: FakeGcpKms, account: Path, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "google.oauth2.service_account", None)
    with pytest.raises(KmsMisconfigured, match=r"pip install .\.\[gcp\]"):
        gcp_kms(google, account, key)


async def test_no_secret_is_shown(google: FakeGcpKms, account: Path, key: str) -> None:
    kms = gcp_kms(google, account, key)
    await kms.prove()
    google.error = "PERMISSION_DENIED"
    with pytest.raises(KmsDenied) as raised:
        await kms.health()
    secrets = [contents(account)["private_key"][40:80], *google.tokens]
    shown = [repr(kms), repr(kms._tokens), repr(kms._tokens._token), repr(kms._tokens._sign_in)]
    shown.append("".join(traceback.format_exception(raised.value)))
    for secret in secrets:
        assert all(secret not in text for text in shown)
    await kms.close()
