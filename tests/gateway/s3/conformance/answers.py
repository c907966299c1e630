"""What botocore's own parser finds in our answers, and what stands in them that it does not know."""

import typing
from collections.abc import Iterator
from typing import Any, Final
from xml.etree import ElementTree as ET

from botocore.awsrequest import HeadersDict
from botocore.model import ListShape, MapShape, Shape, StructureShape
from botocore.parsers import create_parser
from defusedxml.ElementTree import fromstring

from gateway.s3 import serialising
from gateway.s3.response import Response
from tests.gateway.s3.conformance.samples import filled, operation_model
from tests.gateway.s3.wire import snake

VARIANTS: Final = 5
"""As many as there are checksum algorithms, of which an answer names one."""
_PARSER: Any = create_parser("rest-xml")
Path = tuple[str, ...]

PLAIN: Final = frozenset(
    {"content-length", "content-type", "etag", "last-modified", "location", "x-content-type-options"}
)
"""Headers of HTTP, which the model names only where it reads them."""


def answers(operation: str) -> Iterator[Response]:
    """Answers of an operation with every field of its Output set."""
    serialise = getattr(serialising, f"serialise_{snake(operation)}")
    kind = typing.get_type_hints(serialise)["output"]
    for variant in range(VARIANTS):
        yield serialise(filled(kind, "", variant))


def expected(operation: str) -> set[Path]:
    """Every member that the model knows of the answer."""
    shape = operation_model(operation).output_shape
    return set() if shape is None else set(_leaves(shape, (), ()))


def _leaves(shape: Shape, path: Path, seen: tuple[str, ...]) -> Iterator[Path]:
    if isinstance(shape, ListShape):
        yield from _leaves(shape.member, path, seen)
    elif isinstance(shape, StructureShape) and shape.members and shape.name not in seen:
        for name, below in shape.members.items():
            yield from _leaves(below, (*path, name), (*seen, shape.name))
    elif path:
        yield path


def given(operation: str) -> set[Path]:
    """Every member that botocore finds in our answers, under its name and type."""
    shape = operation_model(operation).output_shape
    found: set[Path] = set()
    for answer in answers(operation):
        headers = HeadersDict(dict(answer.headers))
        body = answer.body if isinstance(answer.body, bytes) else b"data!"
        parsed = _PARSER.parse({"status_code": answer.status, "headers": headers, "body": body}, shape)
        parsed.pop("ResponseMetadata")
        found |= set(_found(parsed, ()))
    return found


def _found(value: Any, path: Path) -> Iterator[Path]:
    if isinstance(value, dict) and not (path and path[-1] == "Metadata"):
        for name, below in value.items():
            yield from _found(below, (*path, name))
    elif isinstance(value, list):
        for below in value:
            yield from _found(below, path)
    elif value is not None:
        yield path


def unknown(operation: str) -> set[str]:
    """Headers and elements of our answers that the model does not know."""
    shape = operation_model(operation).output_shape
    members = {} if shape is None else shape.members
    headers = {m.serialization["name"].lower() for m in members.values() if m.serialization.get("location") == "header"}
    prefixes = [m.serialization["name"] for m in members.values() if m.serialization.get("location") == "headers"]
    strange: set[str] = set()
    for answer in answers(operation):
        for name, _ in answer.headers:
            if name.lower() not in headers | PLAIN and not name.lower().startswith(tuple(prefixes)):
                strange.add(name)
        if isinstance(answer.body, bytes) and answer.body and shape is not None:
            payload = shape.serialization.get("payload")
            body_shape = shape.members[payload] if payload else shape
            if body_shape.type_name == "structure":
                strange |= set(_strange(fromstring(answer.body), body_shape, ()))
    return strange


def _strange(element: ET.Element, shape: Shape, path: Path) -> Iterator[str]:
    if isinstance(shape, MapShape):
        return
    if isinstance(shape, StructureShape):
        known = {}
        for name, below in shape.members.items():
            flat = isinstance(below, ListShape) and below.serialization.get("flattened")
            tag = below.serialization.get("name") or (below.member.serialization.get("name") if flat else None) or name
            known[tag] = below.member if flat and isinstance(below, ListShape) else below
        for child in element:
            tag = child.tag.partition("}")[2] or child.tag
            if tag not in known:
                yield "/".join((*path, tag))
            else:
                yield from _strange(child, known[tag], (*path, tag))
    elif isinstance(shape, ListShape):
        wanted = shape.member.serialization.get("name", "member")
        for child in element:
            tag = child.tag.partition("}")[2] or child.tag
            if tag != wanted:
                yield "/".join((*path, tag))
            yield from _strange(child, shape.member, (*path, tag))
    elif len(element):
        yield "/".join((*path, "text expected"))
