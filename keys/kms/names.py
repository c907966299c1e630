"""What a wrapping key may be called: its id, `alias/NAME`, or the ARN of either, as AWS KMS spells them.

Source: AWS KMS "Key identifiers". A key belongs to one region and one account; an ARN of another is not found here.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from keys.errors import KmsKeyNotFound

ALIAS_PREFIX: Final = "alias/"
LOCAL_ACCOUNT: Final = "000000000000"
"""Stands for the account in the ARNs of keys that no AWS account owns."""

_PLAIN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}", re.ASCII)

_ARN = re.compile(
    r"arn:aws:kms:(?P<region>[a-z0-9-]{1,64}):(?P<account>[0-9]{12}):(?:key/(?P<key>[^/]+)|(?P<alias>alias/.+))",
    re.ASCII,
)


def is_plain_id(text: str) -> bool:
    """Whether this may stand in the path of a request or in a search of a token: no separator, no pattern, no `..`."""
    return _PLAIN_ID.fullmatch(text) is not None and ".." not in text


@dataclass(frozen=True, slots=True)
class KeyNames:
    """The names of the keys of one region and account.

    For a KMS that knows neither, the name that the operator gave it stands for the region. `aliases` are further
    names, without `alias/`, and the ids that they stand for.
    """

    region: str = "us-east-1"
    account: str = LOCAL_ACCOUNT
    aliases: Mapping[str, str] = field(default_factory=dict)

    def arn(self, kms_key_id: str) -> str:
        """The ARN of a key."""
        return f"arn:aws:kms:{self.region}:{self.account}:key/{kms_key_id}"

    def plain(self, name: str) -> str:
        """The id or `alias/NAME` that a name stands for; what is neither ARN nor one of `aliases` stays as it is.

        Raises:
            KmsKeyNotFound: an ARN that is malformed, or of another region or account.
        """
        if name.startswith("arn:"):
            match = _ARN.fullmatch(name)
            if match is None or (match["region"], match["account"]) != (self.region, self.account):
                raise KmsKeyNotFound("that ARN names no wrapping key of this KMS")
            name = match["key"] or match["alias"]
        return self.aliases.get(name.removeprefix(ALIAS_PREFIX), name) if name.startswith(ALIAS_PREFIX) else name

    def aliases_of(self, kms_key_id: str) -> tuple[str, ...]:
        """The further names of a key."""
        return tuple(alias for alias, meant in self.aliases.items() if meant == kms_key_id)


DEFAULT_NAMES: Final = KeyNames()
"""Of a KMS that was told no region."""
