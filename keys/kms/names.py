"""What a wrapping key may be called: its id, `alias/NAME`, or the ARN of either, as AWS KMS spells them.

Source: AWS KMS "Key identifiers". A key belongs to one region and one account; an ARN of another is not found here.
"""

import re
from dataclasses import dataclass
from typing import Final

from keys.errors import KmsKeyNotFound

ALIAS_PREFIX: Final = "alias/"
LOCAL_ACCOUNT: Final = "000000000000"
"""Stands for the account in the ARNs of keys that no AWS account owns."""

_ARN = re.compile(
    r"arn:aws:kms:(?P<region>[a-z0-9-]{1,64}):(?P<account>[0-9]{12}):(?:key/(?P<key>[^/]+)|(?P<alias>alias/.+))",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class KeyNames:
    """The names of the keys of one region and account."""

    region: str = "us-east-1"
    account: str = LOCAL_ACCOUNT

    def arn(self, kms_key_id: str) -> str:
        """The ARN of a key."""
        return f"arn:aws:kms:{self.region}:{self.account}:key/{kms_key_id}"

    def plain(self, name: str) -> str:
        """The id or `alias/NAME` that a name stands for; what is no ARN stays as it is.

        Raises:
            KmsKeyNotFound: an ARN that is malformed, or of another region or account.
        """
        if not name.startswith("arn:"):
            return name
        match = _ARN.fullmatch(name)
        if match is None or (match["region"], match["account"]) != (self.region, self.account):
            raise KmsKeyNotFound("that ARN names no wrapping key of this KMS")
        return match["key"] or match["alias"]


DEFAULT_NAMES: Final = KeyNames()
"""Of a KMS that was told no region."""
