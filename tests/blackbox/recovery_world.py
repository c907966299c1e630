"""A deployment with one of everything, and everything that its clients can see of it, as text to be compared."""

import base64
import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from botocore.exceptions import ClientError

from tests.blackbox.clients import MIB, payload, s3_client
from tests.blackbox.process import Credentials, Gateway

CUSTOMER_KEY: Final = bytes(range(32))
SSE_C: Final = {
    "SSECustomerAlgorithm": "AES256",
    "SSECustomerKey": base64.b64encode(CUSTOMER_KEY).decode(),
    "SSECustomerKeyMD5": base64.b64encode(hashlib.md5(CUSTOMER_KEY).digest()).decode(),
}
UNTIL: Final = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
LOGS: Final = "logs"
HOOK_ARN: Final = "arn:sealgate:webhook:::hook"
SETTINGS: Final = {"SEALGATE_WEBHOOKS": "hook=https://localhost:9/nobody-listens"}
"""What a gateway needs besides to have all of this."""
OPEN_PARTS: Final = {2: payload(5 * MIB), 7: b"the last part"}
POLICY: Final = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::plain/open/*"}
        ],
    }
)


def build(gateway: Gateway, s3: Any) -> Credentials:
    """Make one of everything; the second account's key."""
    other = gateway.create_account("second")
    for name in ("plain", "versioned", "locked", "empty", "gone", LOGS):
        s3.create_bucket(Bucket=name, **({"ObjectLockEnabledForBucket": True} if name == "locked" else {}))
    s3.delete_bucket(Bucket="gone")
    s3.put_bucket_versioning(Bucket="versioned", VersioningConfiguration={"Status": "Enabled"})
    s3.delete_public_access_block(Bucket="plain")
    s3.put_bucket_policy(Bucket="plain", Policy=POLICY)
    cors = {"CORSRules": [{"AllowedMethods": ["GET"], "AllowedOrigins": ["https://example.org"]}]}
    s3.put_bucket_cors(Bucket="plain", CORSConfiguration=cors)
    s3.put_object(Bucket="plain", Key="small", Body=b"small bytes", ContentType="text/plain", Metadata={"who": "me"})
    s3.put_object(Bucket="plain", Key="empty", Body=b"")
    s3.put_object(
        Bucket="plain", Key="large", Body=payload(300_000), CacheControl="max-age=60", ChecksumAlgorithm="SHA256"
    )
    s3.put_object(Bucket="plain", Key="überschrift/ö", Body=payload(20_000), Tagging="a=b&c=d")
    s3.put_object(Bucket="plain", Key="kms", Body=payload(20_001), ServerSideEncryption="aws:kms")
    s3.put_object(Bucket="plain", Key="customer", Body=payload(20_002), **SSE_C)
    s3.put_object(Bucket="plain", Key="overwritten", Body=payload(20_003))
    s3.put_object(Bucket="plain", Key="overwritten", Body=payload(20_004))
    s3.put_object(Bucket="plain", Key="deleted", Body=payload(20_005))
    s3.delete_object(Bucket="plain", Key="deleted")
    s3.put_object(Bucket="plain", Key="deleted small", Body=b"x")
    s3.delete_object(Bucket="plain", Key="deleted small")
    s3.copy_object(Bucket="plain", Key="copy of large", CopySource={"Bucket": "plain", "Key": "large"})
    s3.copy_object(Bucket="versioned", Key="copy of small", CopySource={"Bucket": "plain", "Key": "small"})
    upload: dict[str, Any] = {"Bucket": "plain", "Key": "parts", "Metadata": {"in": "parts"}}
    upload = {"Bucket": "plain", "Key": "parts", "UploadId": s3.create_multipart_upload(**upload)["UploadId"]}
    parts = [
        {"PartNumber": number, "ETag": s3.upload_part(**upload, PartNumber=number, Body=body)["ETag"]}
        for number, body in ((1, payload(5 * MIB)), (3, b"the end"))
    ]
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
    s3.copy_object(Bucket="plain", Key="copy of parts", CopySource={"Bucket": "plain", "Key": "parts"})
    for body in (b"one", payload(20_006), b"three"):
        s3.put_object(Bucket="versioned", Key="history", Body=body, Metadata={"size": str(len(body))})
    s3.delete_object(Bucket="versioned", Key="history")
    cut = [s3.put_object(Bucket="versioned", Key="cut", Body=body)["VersionId"] for body in (b"old", b"new")]
    s3.delete_object(Bucket="versioned", Key="cut", VersionId=cut[-1])
    s3.put_object_tagging(Bucket="versioned", Key="cut", Tagging={"TagSet": [{"Key": "late", "Value": "tag"}]})
    s3.put_object(
        Bucket="locked", Key="held", Body=payload(20_007), ObjectLockMode="COMPLIANCE", ObjectLockRetainUntilDate=UNTIL
    )
    s3.put_object(Bucket="locked", Key="later", Body=b"later")
    s3.put_object_legal_hold(Bucket="locked", Key="later", LegalHold={"Status": "ON"})
    configure(s3)
    begin(s3, "begun")
    # What was sealed so far is wrapped anew, and its old wraps, which its slots still hold, open nothing any more.
    for command in (("rotate", "alias/default"), ("rewrap",), ("disable", "alias/default", "--version", "1")):
        done = gateway.run("key", *command)
        assert done.returncode == 0, done.stderr
    s3.put_object(Bucket="plain", Key="since the rotation", Body=payload(20_009))
    s3.put_object(Bucket="plain", Key="deleted since", Body=payload(20_010))
    s3.delete_object(Bucket="plain", Key="deleted since")
    begin(s3, "begun since")
    theirs = s3_client(gateway, other)
    theirs.create_bucket(Bucket="theirs")
    theirs.put_object(Bucket="theirs", Key="mine", Body=payload(20_008))
    theirs.close()
    return other


def begin(s3: Any, key: str) -> None:
    """Leave an upload of two parts open."""
    one = {"Bucket": "plain", "Key": key}
    one["UploadId"] = s3.create_multipart_upload(**one, Metadata={"up": key}, ChecksumAlgorithm="SHA256")["UploadId"]
    for number, body in OPEN_PARTS.items():
        s3.upload_part(**one, PartNumber=number, Body=body, ChecksumAlgorithm="SHA256")


def configure(s3: Any) -> None:
    """Give buckets every kind of configuration that there is besides."""
    rules = {"Rules": [{"ID": "a", "Status": "Enabled", "Filter": {"Prefix": "x/"}, "Expiration": {"Days": 9}}]}
    s3.put_bucket_lifecycle_configuration(Bucket="empty", LifecycleConfiguration=rules)
    sealed = {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}, "BucketKeyEnabled": True}]}
    s3.put_bucket_encryption(Bucket="empty", ServerSideEncryptionConfiguration=sealed)
    told = {"QueueConfigurations": [{"Id": "n", "QueueArn": HOOK_ARN, "Events": ["s3:ObjectRemoved:*"]}]}
    s3.put_bucket_notification_configuration(
        Bucket="empty", NotificationConfiguration=told, SkipDestinationValidation=True
    )
    s3.put_bucket_ownership_controls(Bucket="empty", OwnershipControls={"Rules": [{"ObjectOwnership": "ObjectWriter"}]})
    s3.put_public_access_block(
        Bucket="locked", PublicAccessBlockConfiguration={"BlockPublicAcls": True, "IgnorePublicAcls": True}
    )
    s3.delete_public_access_block(Bucket="empty")
    s3.put_bucket_acl(Bucket="empty", ACL="public-read")
    s3.put_bucket_logging(
        Bucket="locked", BucketLoggingStatus={"LoggingEnabled": {"TargetBucket": LOGS, "TargetPrefix": "log/"}}
    )
    s3.put_bucket_tagging(Bucket="locked", Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
    held = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}}
    s3.put_object_lock_configuration(Bucket="locked", ObjectLockConfiguration=held)


def _shown(call: Any, **arguments: Any) -> Any:
    """An answer without what belongs to the request, or the code of a refusal."""
    try:
        answer = call(**arguments)
    except ClientError as refused:
        return refused.response["Error"]["Code"]
    answer.pop("ResponseMetadata")
    body = answer.pop("Body", None)
    return answer if body is None else answer | {"Body": hashlib.sha256(body.read()).hexdigest()}


def versions(s3: Any, bucket: str) -> dict[str, Any]:
    """Every version of a bucket with all that can be asked of it."""
    listed = s3.list_object_versions(Bucket=bucket)
    seen: dict[str, Any] = {
        "listed": {name: listed.get(name, []) for name in ("Versions", "DeleteMarkers")},
        "each": [],
    }
    for version in listed.get("Versions", []):
        one = {"Bucket": bucket, "Key": version["Key"], "VersionId": version["VersionId"]}
        key = SSE_C if version["Key"] == "customer" else {}
        seen["each"].append(
            [
                one,
                _shown(s3.get_object, **one, **key, ChecksumMode="ENABLED"),
                _shown(s3.head_object, **one, **key),
                _shown(s3.get_object_tagging, **one),
                _shown(s3.get_object_retention, **one),
                _shown(s3.get_object_legal_hold, **one),
                _shown(s3.get_object_acl, **one),
            ]
        )
    return seen


def uploads(s3: Any, bucket: str) -> list[Any]:
    """Every open upload of a bucket with its parts."""
    listed = s3.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
    return [
        [one, _shown(s3.list_parts, Bucket=bucket, Key=one["Key"], UploadId=one["UploadId"])["Parts"]] for one in listed
    ]


def everything(gateway: Gateway, other: Credentials) -> str:
    """All that both accounts see, as one text."""
    seen: dict[str, Any] = {}
    for name, credentials in (("first", None), ("second", other)):
        s3 = s3_client(gateway) if credentials is None else s3_client(gateway, credentials)
        buckets = s3.list_buckets()
        seen[name] = {"buckets": buckets["Buckets"], "owner": buckets["Owner"]}
        for bucket in buckets["Buckets"]:
            place = {"Bucket": bucket["Name"]}
            calls = (
                s3.get_bucket_versioning,
                s3.get_object_lock_configuration,
                s3.get_bucket_policy,
                s3.get_bucket_cors,
                s3.get_bucket_lifecycle_configuration,
                s3.get_bucket_encryption,
                s3.get_bucket_notification_configuration,
                s3.get_bucket_ownership_controls,
                s3.get_public_access_block,
                s3.get_bucket_acl,
                s3.get_bucket_logging,
                s3.get_bucket_tagging,
                s3.get_bucket_location,
            )
            shown = [_shown(call, **place) for call in calls]
            if bucket["Name"] != LOGS:  # there a gateway writes its access logs meanwhile
                held = [_shown(s3.list_objects_v2, **place), uploads(s3, bucket["Name"])]
                shown = [versions(s3, bucket["Name"]), *held, *shown]
            seen[name][bucket["Name"]] = shown
        s3.close()
    listed = [gateway.run("account", "list", "--json").stdout]
    listed += [gateway.run("access-key", "list", "--account", name, "--json").stdout for name in ("main", "second")]
    return json.dumps(seen | {"accounts": listed}, sort_keys=True, indent=1, default=str)
