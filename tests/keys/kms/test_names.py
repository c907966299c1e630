"""Names of wrapping keys, as AWS KMS spells them."""

import pytest

from keys.errors import KmsKeyNotFound
from keys.kms.names import KeyNames

NAMES = KeyNames("eu-west-1")
KEY = "1234abcd-12ab-34cd-56ef-1234567890ab"


def test_an_arn_names_its_key() -> None:
    assert NAMES.arn(KEY) == f"arn:aws:kms:eu-west-1:000000000000:key/{KEY}"
    assert NAMES.plain(NAMES.arn(KEY)) == KEY


@pytest.mark.parametrize("name", [KEY, "alias/mine", "alias/team/mine", "alias/aws/s3", ""])
def test_what_is_no_arn_stays(name: str) -> None:
    assert NAMES.plain(name) == name


def test_the_arn_of_an_alias() -> None:
    assert NAMES.plain("arn:aws:kms:eu-west-1:000000000000:alias/team/mine") == "alias/team/mine"


@pytest.mark.parametrize(
    "arn",
    [
        f"arn:aws:kms:us-east-1:000000000000:key/{KEY}",
        f"arn:aws:kms:eu-west-1:111122223333:key/{KEY}",
        f"arn:aws-cn:kms:eu-west-1:000000000000:key/{KEY}",
        f"arn:aws:kms:eu-west-1:000000000000:key/{KEY}/x",
        "arn:aws:kms:eu-west-1:000000000000:key/",
        "arn:aws:kms:eu-west-1:000000000000:alias/",
        "arn:aws:s3:::bucket",
        "arn:",
    ],
)
def test_other_arns_name_nothing(arn: str) -> None:
    with pytest.raises(KmsKeyNotFound):
        NAMES.plain(arn)
