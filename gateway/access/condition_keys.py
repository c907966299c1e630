"""The condition keys that a policy may name, and how their names are written.

Source: IAM "AWS global condition context keys" and, for `s3:`, the Service Authorization Reference. Keys that only
AWS's own network or organisations can fill are known and always absent; tags of buckets and of requests to tag them
are not served, so a policy that names them is refused.
"""

from types import MappingProxyType
from typing import Final

TAG_FAMILIES: Final = MappingProxyType(
    {
        "s3:existingobjecttag/": "s3:ExistingObjectTag/",
        "s3:requestobjecttag/": "s3:RequestObjectTag/",
        "aws:principaltag/": "aws:PrincipalTag/",
    }
)
"""Families of keys whose names end in the key of a tag, whose case counts."""

EXISTING_TAG: Final = "s3:existingobjecttag/"
REQUEST_TAG: Final = "s3:requestobjecttag/"
PRINCIPAL_TAG: Final = "aws:principaltag/"

ANONYMOUS_ID: Final = "anonymous"
"""`aws:userid` of every caller who did not sign."""

MULTIVALUED: Final = frozenset({"s3:requestobjecttagkeys", "aws:calledvia", "aws:principalorgpaths"})
"""Keys that may have several values in one request; they cannot stand in a policy variable."""

SERVED_GLOBAL: Final = frozenset(
    {
        *("aws:currenttime", "aws:epochtime", "aws:principalaccount", "aws:principalarn", "aws:principaltype"),
        *("aws:referer", "aws:requestedregion", "aws:resourceaccount", "aws:securetransport", "aws:sourceip"),
        *("aws:useragent", "aws:userid", "aws:username"),
    }
)
ABSENT_GLOBAL: Final = frozenset(
    {
        *("aws:calledvia", "aws:calledviafirst", "aws:calledvialast", "aws:federatedprovider"),
        *("aws:multifactorauthage", "aws:multifactorauthpresent", "aws:principalisawsservice"),
        *("aws:principalorgid", "aws:principalorgpaths", "aws:principalservicename", "aws:resourceorgid"),
        *("aws:sourceaccount", "aws:sourcearn", "aws:sourceidentity", "aws:sourceorgid", "aws:sourceowner"),
        *("aws:sourcevpc", "aws:sourcevpce", "aws:tokenissuetime", "aws:viaawsservice", "aws:vpcsourceip"),
    }
)
"""Known, and never present here: a condition on them sees an absent key, as outside of AWS's network."""
GLOBAL: Final = SERVED_GLOBAL | ABSENT_GLOBAL | {PRINCIPAL_TAG}


def normalise(name: str) -> str:
    """Key names are in any case; the tag's key behind a family's name is as it stands."""
    head, slash, tag = name.partition("/")
    return head.lower() + slash + tag


def kind_of(key: str) -> str:
    """A normalised key as tables name it: families of tags by their first part."""
    head, slash, tag = key.partition("/")
    return head + slash if tag else key
