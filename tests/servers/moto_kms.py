"""AWS KMS as moto plays it, over TLS: right in its wire format, blind to the states of keys.

`FaultProxy`, a double of our own, stands before it and adds what moto lacks: states that bar a key, throttling, lies in
what is decrypted, silence, another certificate.
"""

import base64
import functools
import json
import subprocess
import time
from pathlib import Path
from typing import Any, Final

import boto3
import requests
from botocore.config import Config

from tests.servers.faults import Faults
from tests.servers.https_double import Answer, HttpsDouble, Request
from tests.servers.openbao import private_file
from tests.servers.pki import Authority
from tests.servers.ports import free_ports
from tests.tooling.places import bare_environment
from tests.tooling.tools import program

ACCOUNT: Final = "123456789012"
"""The one that moto plays."""
SECRET: Final = "wJalrXUtnFEMI-of-nobody"
_START_TIMEOUT_S: Final = 60


class MotoKms:
    """One server in a process of its own; its keys live as long as it does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority(folder)
        (self.port,) = free_ports(1)
        self.address = f"https://localhost:{self.port}"
        self.credentials_file = private_file(
            folder / "credentials",
            f"[default]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = {SECRET}\n",
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        certificate, key = self.authority.server("moto")
        with (self.folder / "moto.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(str(program("moto")), "-H", "127.0.0.1", "-p", str(self.port)),
                    *("-s", "-c", str(certificate), "-k", str(key)),
                ],
                env=bare_environment(self.folder),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + _START_TIMEOUT_S
        while True:
            try:
                requests.get(f"{self.address}/moto-api/", verify=str(self.authority.certificate), timeout=5)
            except requests.RequestException:
                assert self._process.poll() is None, (self.folder / "moto.log").read_text()[-2000:]
                assert time.monotonic() < deadline, "moto did not start"
                time.sleep(0.1)
            else:
                return

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)

    @functools.cache  # noqa: B019 - a server and its clients end with the module's tests
    def admin(self, region: str = "us-east-1") -> Any:
        """A client for what an administrator does."""
        return boto3.client(
            "kms",
            region_name=region,
            endpoint_url=self.address,
            aws_access_key_id="AKIDADMIN",
            aws_secret_access_key="admin",
            verify=str(self.authority.certificate),
            config=Config(proxies={}),
        )

    def new_key(self, region: str = "us-east-1", **options: Any) -> str:
        """Make a key; its id."""
        return str(self.admin(region).create_key(**options)["KeyMetadata"]["KeyId"])


_BARRED: Final = {"Disabled": "DisabledException", "PendingDeletion": "KMSInvalidStateException"}
_GUARDED: Final = frozenset({"Encrypt", "Decrypt", "ReEncrypt", "GenerateDataKey"})


class FaultProxy(Faults):
    """Passes requests on to moto, save for the fault that is set. Bars keys by the states that moto only records."""

    def __init__(self, folder: Path, moto: MotoKms) -> None:
        self._moto = moto
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.verify = str(moto.authority.certificate)
        self.double = HttpsDouble(folder, self._answer)

    def _answer(self, request: Request) -> Answer:
        time.sleep(self.delay_s)
        if self.error is not None:
            return _refusal(self.error)
        operation = request.headers["x-amz-target"].rpartition(".")[2]
        body = json.loads(request.body)
        region = request.headers["authorization"].split("/")[2]
        if operation in _GUARDED:
            for name in ("KeyId", "SourceKeyId", "DestinationKeyId"):
                if name in body:
                    told = self._ask(region, "DescribeKey", {"KeyId": body[name]})
                    if told.status == 200:
                        barred = _BARRED.get(json.loads(told.body)["KeyMetadata"]["KeyState"])
                        if barred:
                            return _refusal(barred)
        answer = self._ask(region, operation, body)
        if operation == "Decrypt" and self.lie is not None and answer.status == 200:
            told = json.loads(answer.body)
            told["Plaintext"] = base64.b64encode(self.lie(base64.b64decode(told["Plaintext"]))).decode()
            return Answer(200, json.dumps(told).encode(), answer.headers)
        return answer

    def _ask(self, region: str, operation: str, body: Any) -> Answer:
        answer = self._session.post(
            self._moto.address,
            data=json.dumps(body),
            headers={
                "X-Amz-Target": f"TrentService.{operation}",
                "Content-Type": "application/x-amz-json-1.1",
                "Authorization": f"AWS4-HMAC-SHA256 Credential=AKIDPROXY/20260101/{region}/kms/aws4_request",
            },
            timeout=20,
        )
        if b"AccessDeniedException" in answer.content:
            return _refusal("IncorrectKeyException")  # what AWS says of a ciphertext of another key
        return Answer(answer.status_code, answer.content, {"Content-Type": "application/x-amz-json-1.1"})


def _refusal(code: str) -> Answer:
    body = json.dumps({"__type": code, "message": "as the test asked for"}).encode()
    return Answer(500 if code == "KMSInternalException" else 400, body, {"Content-Type": "application/x-amz-json-1.1"})
