"""Cross-origin rules of a bucket: which web pages may read its answers; pure.

Sources: the Fetch standard, "HTTP extensions"; S3 "Using cross-origin resource sharing", "PutBucketCors". CORS never
lets anyone in: a page sends what its user may send anyway, and these headers let it see the answer.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from gateway.s3.query import HEADER_NAME

MAX_RULES: Final = 100
METHODS: Final = ("GET", "PUT", "HEAD", "POST", "DELETE")
VARY: Final = "Origin, Access-Control-Request-Headers, Access-Control-Request-Method"

Header = tuple[str, str]

_ORIGIN: Final = re.compile(r"null|[A-Za-z][A-Za-z0-9+.-]*://[\x21\x24-\x2b\x2d\x2e\x30-\x3e\x40-\x7e]*")
"""RFC 6454 section 6.2, and what browsers' extensions and applications send in its place."""


@dataclass(frozen=True, slots=True)
class CorsRule:
    """One rule. Origins and allowed headers may hold one `*` each."""

    allowed_origins: tuple[str, ...]
    allowed_methods: tuple[str, ...]
    allowed_headers: tuple[str, ...] = ()
    expose_headers: tuple[str, ...] = ()
    max_age_s: int | None = None
    rule_id: str | None = None

    def encode(self) -> dict[str, Any]:
        """JSON values for the catalogue."""
        return asdict(self)

    @classmethod
    def decode(cls, encoded: Mapping[str, Any]) -> "CorsRule":
        """The reverse."""
        held: dict[str, Any] = {each.name: encoded[each.name] for each in fields(cls)}
        for name, value in held.items():
            if isinstance(value, list):
                held[name] = tuple(value)
        return cls(**held)


class _Names:
    """Names with one `*` each at the most, kept so that whether one fits is found without trying them all."""

    def __init__(self, allowed: Iterable[str]) -> None:
        self._exact = set[str]()
        behind_of = defaultdict[str, list[str]](list)
        for name in allowed:
            before, star, behind = name.partition("*")
            if star:
                behind_of[before].append(behind)
            else:
                self._exact.add(name)
        self._behind_of = {before: tuple(behind) for before, behind in behind_of.items()}
        self._lengths = {len(before) for before in behind_of}

    def fit(self, text: str) -> bool:
        """Whether one of them fits."""
        return text in self._exact or any(
            text[length:].endswith(self._behind_of.get(text[:length], ())) for length in self._lengths
        )


def find_rule(
    rules: Iterable[CorsRule], origin: str, method: str, request_headers: Sequence[str] | None = None
) -> CorsRule | None:
    """Find the first rule that fits an origin, a method and, for a preflight, every header that will be sent.

    What is no origin, or no name of a header, fits none, not even `*`: the answer would repeat it.
    """
    asked = [name.lower() for name in request_headers or ()]
    if not _ORIGIN.fullmatch(origin) or not all(HEADER_NAME.fullmatch(name) for name in asked):
        return None
    for rule in rules:
        if method in rule.allowed_methods and _Names(rule.allowed_origins).fit(origin):
            allowed = _Names(name.lower() for name in rule.allowed_headers)
            if all(allowed.fit(name) for name in asked):
                return rule
    return None


def response_headers(rule: CorsRule, origin: str) -> tuple[Header, ...]:
    """Headers of an actual answer.

    A rule for every origin answers `*`, with which browsers send no credentials; any other names the origin that asks.
    """
    if "*" in rule.allowed_origins:
        allowed: tuple[Header, ...] = (("Access-Control-Allow-Origin", "*"),)
    else:
        allowed = (("Access-Control-Allow-Origin", origin), ("Access-Control-Allow-Credentials", "true"))
    exposed = (("Access-Control-Expose-Headers", ", ".join(rule.expose_headers)),) if rule.expose_headers else ()
    methods = ("Access-Control-Allow-Methods", ", ".join(rule.allowed_methods))
    age = () if rule.max_age_s is None else (("Access-Control-Max-Age", str(rule.max_age_s)),)
    return (*allowed, methods, *exposed, *age, ("Vary", VARY))


def preflight_headers(rule: CorsRule, origin: str, request_headers: Sequence[str]) -> tuple[Header, ...]:
    """Headers of the answer to a preflight: those of an answer, and the headers that may be sent."""
    names = ", ".join(name.lower() for name in request_headers)
    return (*response_headers(rule, origin), *((("Access-Control-Allow-Headers", names),) if names else ()))
