"""A KMS that goes away, hangs, dies, forgets us or changes: what goes on, what answers 503 and when, and how it ends.

The KMS is a real OpenBao and the gateway the real process. Source: DESIGN part 3; FAULTS F16 and F17.
"""

import concurrent.futures
import itertools
import re
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
from botocore.exceptions import ClientError

from tests.blackbox.clients import s3_client
from tests.blackbox.process import GatewayFailed
from tests.kms.deployment import KmsGateway, vault_table
from tests.servers.openbao import POLICY, OpenBao
from tests.servers.pki import Authority

BODY: Final = b"while the KMS is away " * 2000
LIMIT_S: Final = 6.0
"""A 503 comes within 5 s, and the machine of the tests is busy."""
BACK_S: Final = 2.0
GATEWAYS_CA: Final = "gateways-ca"
_NUMBERS: Final = itertools.count(1)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, openbao: OpenBao) -> Iterator[KmsGateway]:
    folder = tmp_path_factory.mktemp("gateway")
    openbao.write_policy("outage", POLICY)
    certificate, key = Authority(openbao.folder, GATEWAYS_CA).client("gateway")
    take_gateways(openbao, are_taken=True)
    signed = {"client_certificate_file": str(certificate), "client_key_file": str(key)}
    deployment = KmsGateway(folder, "vault-one", vault_table(openbao, folder, policy="outage", **signed))
    deployment.start()
    try:
        yield deployment
    finally:
        openbao.resume()
        deployment.close()


@pytest.fixture(scope="module")
def s3(gateway: KmsGateway) -> Iterator[Any]:
    client = s3_client(gateway)
    client.create_bucket(Bucket="outage")
    yield client
    client.close()


def refusal(call: Callable[[], Any]) -> tuple[str, int, float]:
    """What a call is refused with: code, status, seconds."""
    began = time.monotonic()
    with pytest.raises(ClientError) as refused:
        call()
    answer = refused.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"], time.monotonic() - began


def put(s3: Any, key: str) -> Any:
    return s3.put_object(Bucket="outage", Key=key, Body=BODY)


def lines_of(gateway: KmsGateway, sign: str) -> list[str]:
    return [line for line in gateway.log.read_text().splitlines() if sign in line]


def sealed(openbao: OpenBao) -> Callable[[], None]:
    openbao.seal()
    return openbao.unseal


def suspended(openbao: OpenBao) -> Callable[[], None]:
    openbao.suspend()
    return openbao.resume


def killed(openbao: OpenBao) -> Callable[[], None]:
    openbao.kill()
    return openbao.start


def take_gateways(openbao: OpenBao, *, are_taken: bool) -> None:
    openbao.kill()
    openbao.take_clients_of(*([openbao.folder / f"{GATEWAYS_CA}.pem"] if are_taken else []))
    openbao.start()


def certificate_revoked(openbao: OpenBao) -> Callable[[], None]:
    """The KMS serves, and its listener no longer takes our client certificate."""
    take_gateways(openbao, are_taken=False)
    return partial(take_gateways, openbao, are_taken=True)


@pytest.mark.parametrize("ends", [sealed, suspended, killed, certificate_revoked])
def test_an_outage(
    gateway: KmsGateway, s3: Any, openbao: OpenBao, ends: Callable[[OpenBao], Callable[[], None]]
) -> None:
    cached, doomed = f"cached-{next(_NUMBERS)}", f"doomed-{next(_NUMBERS)}"
    put(s3, cached)
    put(s3, doomed)
    away, back = len(lines_of(gateway, "is away")), len(lines_of(gateway, "is back"))
    restore = ends(openbao)
    try:
        code, status, seconds = refusal(lambda: put(s3, "refused"))
        assert (code, status) == ("ServiceUnavailable", 503)
        assert seconds < LIMIT_S
        assert s3.get_object(Bucket="outage", Key=cached)["Body"].read() == BODY
        assert s3.head_object(Bucket="outage", Key=cached)["ContentLength"] == len(BODY)
        listed = [item["Key"] for item in s3.list_objects_v2(Bucket="outage")["Contents"]]
        assert cached in listed
        assert "refused" not in listed
        s3.delete_object(Bucket="outage", Key=doomed)
        assert gateway.metrics()['sealgate_kms_up{provider="vault-one"}'] == 0
    finally:
        restore()
    returned = time.monotonic()
    while True:
        try:
            put(s3, "again")
            break
        except ClientError:
            assert time.monotonic() - returned < BACK_S, gateway.log_tail()
    assert time.monotonic() - returned < BACK_S
    assert s3.get_object(Bucket="outage", Key="again")["Body"].read() == BODY
    assert gateway.metrics()['sealgate_kms_up{provider="vault-one"}'] == 1
    assert len(lines_of(gateway, "is away")) == away + 1, "one line for each outage"
    assert len(lines_of(gateway, "is back")) == back + 1, "and one for each return"


def test_100_requests_of_a_kms_that_hangs(gateway: KmsGateway, s3: Any, openbao: OpenBao) -> None:
    """The loop is never blocked: what is cached is read as fast as ever, while all who wait get their 503 in time."""
    put(s3, "hot")

    def read() -> float:
        began = time.monotonic()
        assert s3.get_object(Bucket="outage", Key="hot")["Body"].read() == BODY
        return time.monotonic() - began

    calm = sorted(read() for _ in range(60))
    openbao.suspend()
    try:
        with concurrent.futures.ThreadPoolExecutor(100) as pool:
            clients = [s3_client(gateway) for _ in range(4)]
            waiting = [
                pool.submit(refusal, partial(put, client, f"x-{n}"))
                for n, client in zip(range(100), itertools.cycle(clients), strict=False)
            ]
            time.sleep(0.5)
            busy = sorted(read() for _ in range(60))
            answers = [future.result() for future in waiting]
        for client in clients:
            client.close()
    finally:
        openbao.resume()
    assert {(code, status) for code, status, _ in answers} == {("ServiceUnavailable", 503)}
    # boto3's pool of ten connections for each client makes three turns of a hundred requests.
    print("calm p50", statistics.median(calm), "busy p50", statistics.median(busy), "p98", busy[58])
    assert busy[58] < 1.0, "nobody waits for a KMS who need not"


def test_one_question_however_many_read(gateway: KmsGateway, s3: Any) -> None:
    """F17: single-flight."""
    put(s3, "shared")
    gateway.restart()
    before = gateway.kms_calls("unwrap")
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        bodies = list(pool.map(lambda _: s3.get_object(Bucket="outage", Key="shared")["Body"].read(), range(100)))
    assert set(bodies) == {BODY}
    assert gateway.kms_calls("unwrap") == before + 1


def test_a_token_that_is_revoked_is_replaced(gateway: KmsGateway, s3: Any, openbao: OpenBao) -> None:
    put(s3, "before")
    time.sleep(5)  # between two logins there is a pause
    logins = len(lines_of(gateway, "signed in"))
    for accessor in openbao.ask("LIST", "auth/token/accessors")["data"]["keys"]:
        about = openbao.ask("POST", "auth/token/lookup-accessor", {"accessor": accessor})["data"]
        if about["policies"] != ["root"]:
            openbao.ask("POST", "auth/token/revoke-accessor", {"accessor": accessor})
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda number: put(s3, f"after-{number}"), range(40)))
    assert len(lines_of(gateway, "signed in")) == logins + 1


def test_a_policy_that_denies_is_denied(gateway: KmsGateway, s3: Any, openbao: OpenBao) -> None:
    put(s3, "cached")
    openbao.write_policy("outage", 'path "nothing" { capabilities = ["read"] }')
    try:
        assert refusal(lambda: put(s3, "denied"))[:2] == ("AccessDenied", 403)
        assert s3.get_object(Bucket="outage", Key="cached")["Body"].read() == BODY
        assert lines_of(gateway, "KMS vault-one refuses us")
    finally:
        openbao.write_policy("outage", POLICY)
    deadline = time.monotonic() + 8  # a denial is remembered for 5 s
    while True:
        try:
            put(s3, "allowed")
            break
        except ClientError:
            assert time.monotonic() < deadline
    assert lines_of(gateway, "no longer refuses us")


def test_a_key_that_is_switched_off_is_disabled(gateway: KmsGateway, s3: Any, openbao: OpenBao) -> None:
    put(s3, "switched")
    openbao.ask("DELETE", "transit/keys/sealgate/soft-delete")
    try:
        assert refusal(lambda: put(s3, "off"))[:2] == ("KMS.DisabledException", 400)
        assert s3.get_object(Bucket="outage", Key="switched")["Body"].read() == BODY, "cached for 300 s at most"
    finally:
        openbao.ask("POST", "transit/keys/sealgate/soft-delete-restore")
    put(s3, "on")


def test_revocation_bites_within_the_cache_time(tmp_path: Path, openbao: OpenBao) -> None:
    gateway = KmsGateway(tmp_path / "short", "vault-one", vault_table(openbao, tmp_path), {"SEALGATE_KEY_CACHE_S": "1"})
    gateway.start()
    client = s3_client(gateway)
    try:
        client.create_bucket(Bucket="outage")
        put(client, "revoked")
        openbao.ask("DELETE", "transit/keys/sealgate/soft-delete")
        time.sleep(1.2)
        read = partial(client.get_object, Bucket="outage", Key="revoked")
        assert refusal(read)[:2] == ("KMS.DisabledException", 400)
        openbao.ask("POST", "transit/keys/sealgate/soft-delete-restore")
        assert read()["Body"].read() == BODY
    finally:
        client.close()
        gateway.close()


def test_a_restart_without_the_kms_says_so(gateway: KmsGateway, s3: Any, openbao: OpenBao) -> None:
    """It ends with the code for "may go well later", so whoever supervises it tries again."""
    put(s3, "kept")
    gateway.stop()
    openbao.seal()
    try:
        with pytest.raises(GatewayFailed, match=re.escape("left with 8")) as failed:
            gateway.start()
        assert "the KMS vault-one is sealed or in maintenance; unseal it" in str(failed.value)
    finally:
        openbao.unseal()
    gateway.start()
    assert s3.get_object(Bucket="outage", Key="kept")["Body"].read() == BODY


def test_a_key_that_was_exchanged_ends_the_process(tmp_path: Path, openbao: OpenBao) -> None:
    """At the canary's next round while it serves, before anything more is sealed; and at every start."""
    openbao.create_key("exchanged")
    gateway = KmsGateway(
        tmp_path / "exchanged",
        "vault-one",
        vault_table(openbao, tmp_path, key="exchanged"),
        {"SEALGATE_CANARY_INTERVAL_S": "10"},
    )
    gateway.start()
    openbao.delete_key("exchanged")
    openbao.create_key("exchanged")
    process = gateway._process
    assert process is not None
    assert process.wait(25) == 5
    assert "no longer with the key that sealed this realm" in gateway.log.read_text()
    gateway._process = None
    with pytest.raises(GatewayFailed, match=re.escape("left with 5")) as failed:
        gateway.start()
    assert "not with the key that sealed this realm" in str(failed.value)


def test_a_second_kms_that_was_exchanged_is_refused(tmp_path: Path, openbao: OpenBao) -> None:
    openbao.mount("other")
    tables = vault_table(openbao, tmp_path) + vault_table(openbao, tmp_path, "vault-two", mount="other", key="spare")
    openbao.create_key("spare", "other")
    gateway = KmsGateway(tmp_path / "second", "vault-one", tables)
    gateway.start()
    gateway.stop()
    openbao.delete_key("spare", "other")
    openbao.create_key("spare", "other")
    with pytest.raises(GatewayFailed, match=re.escape("left with 5")) as failed:
        gateway.start()
    assert "the KMS vault-two answers, but not with the key that it had" in str(failed.value)


def test_a_second_kms_that_is_away_stops_nobody(tmp_path: Path, openbao: OpenBao, tmp_path_factory: Any) -> None:
    other = OpenBao(tmp_path_factory.mktemp("other"))
    other.start()
    try:
        other.prepare()
        other.create_key("spare")
        tables = vault_table(openbao, tmp_path) + vault_table(other, tmp_path, "vault-two", key="spare")
        other.suspend()
        gateway = KmsGateway(tmp_path / "second", "vault-one", tables, {"SEALGATE_KMS_DEADLINE_S": "1"})
        gateway.start()
        client = s3_client(gateway)
        try:
            client.create_bucket(Bucket="outage")
            put(client, "one")
            named = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "spare"}
            store = partial(client.put_object, Bucket="outage", Key="two", Body=BODY, **named)
            assert refusal(store)[:2] == ("ServiceUnavailable", 503)
            other.resume()
            store()
            assert client.get_object(Bucket="outage", Key="two")["Body"].read() == BODY
        finally:
            client.close()
            gateway.close()
    finally:
        other.resume()
        other.kill()
