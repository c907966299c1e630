"""The S3 client of moves: boto3 with everything said by hand, and nothing taken from the machine.

Endpoint, region, CA file and credentials are what the command names; neither environment, profile files, proxies nor
instance metadata are asked. No redirect is followed (botocore's HTTP session follows none).
"""

import configparser
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import boto3
import botocore.session
from botocore.config import Config
from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES as SESSION_VARIABLES
from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError, SSLError

from gateway.errors import MoveError
from gateway.moving.endpoint import AccessKey, Endpoint, Patience
from gateway.moving.places import Interrupted, ItemChanged, ItemFailed, ItemGone, PlaceFailed
from gateway.moving.wire import limit
from keys.safe_files import read_private_file

CONNECT_TIMEOUT_S: Final = 10
ATTEMPTS: Final = 4
"""Of each request, by botocore's standard rules."""
MAX_CREDENTIALS_BYTES: Final = 64 * 1024
_EXPORT = re.compile(r"(?:export )?(AWS_[A-Z_]+)=(.*)", re.ASCII)

_NOT_TRUSTED: Final = "no TLS with it (the file of --ca-file must hold the private authority of its certificate)"
_OF_THE_ITEM: Final = frozenset({403, 405, 400, 409, 411, 413, 416, 501})
"""Statuses by which a server refuses this object; without credentials that count every object is refused, though."""
_OF_THE_PLACE: Final = frozenset(
    {"InvalidAccessKeyId", "SignatureDoesNotMatch", "NoSuchBucket", "RequestTimeTooSkewed", "ExpiredToken"}
)


def read_credentials(path: Path, profile: str) -> AccessKey:
    """An access key from a file that is closed to others: AWS's credentials file, or lines as in client.env.

    Raises:
        KeysError: it cannot be read, or is open to others. PlaceFailed: it holds none.
    """
    text = read_private_file(path, MAX_CREDENTIALS_BYTES).decode("utf-8", "replace")
    try:
        parser = configparser.RawConfigParser()
        parser.read_string(text)
        held = {name.upper(): value for name, value in parser.items(profile)}
    except configparser.NoSectionError:
        raise PlaceFailed(f"{path} has no profile {profile}: give --profile") from None
    except configparser.Error:
        held = _exported(text)
    try:
        return AccessKey(held["AWS_ACCESS_KEY_ID"], held["AWS_SECRET_ACCESS_KEY"], held.get("AWS_SESSION_TOKEN"))
    except KeyError:
        raise PlaceFailed(f"{path} holds no access key: AWS's credentials file or lines as in client.env") from None


def _exported(text: str) -> dict[str, str]:
    held = {}
    for line in text.splitlines():
        match = _EXPORT.fullmatch(line.strip())
        if match:
            try:
                held[match[1]] = "".join(shlex.split(match[2]))
            except ValueError:
                continue
    return held


def make_client(endpoint: Endpoint, parallel: int, patience: Patience, key: AccessKey | None = None) -> Any:
    """A client of that endpoint, with the key of its file where none is given. Raises: KeysError, PlaceFailed."""
    if not endpoint.url.startswith("https://"):
        raise PlaceFailed("the endpoint is spoken to over https:// alone: correct --endpoint")
    if key is None:
        assert endpoint.credentials_file is not None, "one of them holds the key"
        key = read_credentials(endpoint.credentials_file, endpoint.profile)
    # Each variable with its default alone: neither a name in a profile nor one in the environment.
    nowhere = {name: (None, None, default, convert) for name, (_, _, default, convert) in SESSION_VARIABLES.items()}
    nowhere |= dict.fromkeys(("config_file", "credentials_file"), (None, None, "/dev/null", None))
    try:
        session = boto3.session.Session(
            aws_access_key_id=key.access_key_id,
            aws_secret_access_key=key.secret_access_key,
            aws_session_token=key.session_token,
            region_name=endpoint.region,
            botocore_session=botocore.session.Session(session_vars=nowhere),
        )
        client = session.client(
            "s3",
            endpoint_url=endpoint.url,
            verify=True if endpoint.ca_file is None else str(endpoint.ca_file),
            config=Config(
                connect_timeout=CONNECT_TIMEOUT_S,
                read_timeout=patience.window_s,
                max_pool_connections=2 * parallel + 2,
                retries={"total_max_attempts": ATTEMPTS, "mode": "standard"},
                proxies={},
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                ignore_configured_endpoint_urls=True,
            ),
        )
    except (BotoCoreError, ValueError) as error:
        raise PlaceFailed(f"the endpoint {endpoint.url} cannot be used: {error}") from None
    limit(client, patience)
    return client


def asking(call: Callable[..., Any], **arguments: Any) -> Any:
    """Make a call; what goes wrong becomes one of the errors of `places`, in words without secrets."""
    try:
        return call(**arguments)
    except ClientError as error:
        raise refused(error) from None
    except (ParamValidationError, ValueError) as error:
        raise ItemFailed(f"it cannot be put into a request: {type(error).__name__}") from None
    except BotoCoreError as error:
        cause = getattr(error, "kwargs", {}).get("error")
        if isinstance(cause, MoveError):
            raise cause from None
        why = _NOT_TRUSTED if isinstance(error, SSLError) else type(error).__name__
        raise Interrupted(f"the endpoint cannot be used: {why}") from None


def refused(error: ClientError) -> MoveError:
    """What a server's refusal means for a move."""
    code = str(error.response.get("Error", {}).get("Code", ""))[:64]
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    # An answer to HEAD has no document, and its code is the status once more.
    said = f"the endpoint answered {status}" if code in ("", str(status)) else f"the endpoint answered {status} {code}"
    if code in _OF_THE_PLACE or 300 <= status < 400:
        return PlaceFailed(said)
    if status == 404:
        return ItemGone(said)
    if status == 412:
        return ItemChanged("something else is there by now; it was left as it is")
    return ItemFailed(said) if status in _OF_THE_ITEM else Interrupted(said)
