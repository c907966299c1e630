"""aws-cli version 1, from PyPI in an environment of its own."""

from tests.blackbox.aws_cli_suite import AwsCliSuite


class TestAwsCli1(AwsCliSuite):
    tool = "aws-cli-1"
    refused = 255
    presigned_by = "AWSAccessKeyId"
