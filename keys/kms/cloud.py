"""What the KMSs of clouds have in common: JSON over HTTPS, asked with access tokens of one or two identities.

Their own clients are not used, only what signs in: see docs/decisions/0015-cloud-kms.md. Source: RFC 6750.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from keys.errors import KeysError, KmsDenied, KmsKeyNotFound, KmsUnavailable
from keys.kms.access_tokens import AccessTokens, SignIn
from keys.kms.binding import RecordKms
from keys.kms.calls import BlockingCalls
from keys.kms.https import THREADS, Reach, new_session, parsed, why_unreachable
from keys.kms.names import KeyNames, is_plain_id

MAX_TOLD_CHARS: Final = 4096
"""Of what a refusal says; enough to find the words that tell one from another."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """How a KMS refused: the HTTP status, its code, and its words, which are looked at and never passed on."""

    status: int
    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Rule:
    """What a refusal is whose status or code is `code` and whose words hold `sign`; the first that fits counts."""

    code: str
    sign: str
    kind: type[KeysError]
    meaning: str
    only_unwraps: bool = False

    def fits(self, refusal: Refusal, *, unwraps: bool) -> bool:
        """Whether this is one of those."""
        is_code = self.code in {"", str(refusal.status), refusal.code}
        return is_code and self.sign in refusal.text and (unwraps or not self.only_unwraps)


class CloudKms(RecordKms):
    """`Kms` of a cloud. `extra` names the type and the extra to install; `service` is what people call it."""

    extra: ClassVar[str]
    service: ClassVar[str]
    rules: ClassVar[Sequence[Rule]]
    """What its refusals mean, besides those that mean the same everywhere; the last one fits all."""
    is_experimental = True

    def __init__(self, provider: str, reach: Reach, kms_key_id: str, names: KeyNames) -> None:
        """Nothing is asked yet. Raises: KmsMisconfigured."""
        self.provider = provider
        self._reach = reach
        self._kms_key_id = kms_key_id
        self._names = names
        reach.check_files()
        self._session = new_session(reach, self.extra)
        self._calls = BlockingCalls(provider, THREADS)

    def _identities(self, wraps: SignIn, unwraps: SignIn | None) -> None:
        self._tokens = AccessTokens(self.provider, wraps)
        self._unwrap_tokens = self._tokens if unwraps is None else AccessTokens(self.provider, unwraps)

    async def close(self) -> None:
        """See `Kms.close`."""
        self._calls.close()
        self._session.close()

    def _name(self, kms_key_id: str | None) -> str:
        """The name of a key as it may stand in a path. Raises: KmsKeyNotFound."""
        name = self._kms_key_id if kms_key_id is None else self._names.plain(kms_key_id)
        if not is_plain_id(name):
            raise KmsKeyNotFound("that is no name of a wrapping key here")
        return name

    async def _ask(
        self,
        tokens: AccessTokens,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        unwraps: bool = False,
    ) -> Any:
        answer = await self._calls.run(lambda: self._answered(tokens, method, path, body))
        if answer.status_code == 200:
            told = parsed(answer.json)
            if isinstance(told, dict):
                return told
            raise KmsUnavailable(f"{self.service} answers with what is no answer")
        raise self._meaning(_refusal(answer), unwraps=unwraps)

    def _answered(self, tokens: AccessTokens, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        """One call, in a thread; a token that is refused is replaced once."""
        token = tokens.current()
        answer = self._sent(token, method, path, body)
        return self._sent(tokens.replaced(token), method, path, body) if answer.status_code == 401 else answer

    def _sent(self, token: str, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        try:
            return self._session.request(
                method,
                f"{self._reach.address}/{path}",
                json=body,
                headers={"Authorization": f"Bearer {token}"},
                timeout=self._reach.timeouts,
                allow_redirects=False,
            )
        except OSError as error:  # requests' own errors are of this kind
            raise KmsUnavailable(f"{self.service}: {why_unreachable(error)}") from None

    def _meaning(self, refusal: Refusal, *, unwraps: bool) -> KeysError:
        status = refusal.status
        if status == 401:
            return KmsDenied(f"{self.service} takes no token of this identity: see its credentials")
        if status == 429:
            return KmsUnavailable(f"{self.service} is throttling us")
        if 400 <= status < 500 and status != 408:
            rule = next(rule for rule in self.rules if rule.fits(refusal, unwraps=unwraps))
            return rule.kind(f"{self.service}: {rule.meaning}")
        return KmsUnavailable(f"{self.service} fails (HTTP status {status})")


def _refusal(answer: Any) -> Refusal:
    """What stands in a body like `{"error": {...}}`, whichever fields the service has."""
    try:
        error = answer.json()["error"]
        code = str(error.get("status") or error.get("code"))
    except (ValueError, KeyError, TypeError, AttributeError):
        return Refusal(answer.status_code, "", "")
    return Refusal(answer.status_code, code, str(error)[:MAX_TOLD_CHARS])
