import contextlib
import random
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.s3.errors import S3Error
from gateway.s3.multipart_form import Event, Field, FileBegin, FileData, FormDecoder, FormLimits, boundary_of

BOUNDARY = b"----WebKitFormBoundary7MA4YWxkTrZu0gW"


def part(name: str, value: bytes, *, filename: str | None = None, more: bytes = b"") -> bytes:
    tail = "" if filename is None else f'; filename="{filename}"'
    head = f'--{BOUNDARY.decode()}\r\nContent-Disposition: form-data; name="{name}"{tail}\r\n'.encode()
    return head + more + b"\r\n" + value + b"\r\n"


END = b"--" + BOUNDARY + b"--\r\n"
# Content that looks like what comes behind it, up to its last byte but one.
FILE = b"a\r\n--" + BOUNDARY[:-1] + b"\r\n\r\n--\r\r\n-" + bytes(range(256))
FORM = (
    part("key", b"user/${filename}")
    + part("empty", b"")
    + part("Content-Type", "Ä\r\n--".encode())
    + part("file", FILE, filename="a.txt", more=b"Content-Type: text/plain\r\n")
    + part("submit", b"Upload")
    + END
)


def decode(pieces: Iterable[bytes], limits: FormLimits | None = None) -> list[Event]:
    decoder = FormDecoder(BOUNDARY, limits)
    events = [event for piece in pieces for event in decoder.feed(piece)]
    decoder.finish()
    return events


def told(events: list[Event]) -> tuple[dict[str, bytes], str | None, bytes]:
    fields = {event.name: event.value for event in events if isinstance(event, Field)}
    (name,) = [event.file_name for event in events if isinstance(event, FileBegin)]
    return fields, name, b"".join(event.data for event in events if isinstance(event, FileData))


EXPECTED = ({"key": b"user/${filename}", "empty": b"", "Content-Type": "Ä\r\n--".encode()}, "a.txt", FILE)


def test_whole() -> None:
    assert told(decode([FORM])) == EXPECTED


def test_byte_by_byte() -> None:
    assert told(decode(bytes([byte]) for byte in FORM)) == EXPECTED


def test_every_split() -> None:
    for at in range(len(FORM)):
        assert told(decode([FORM[:at], FORM[at:]])) == EXPECTED, at


def test_every_prefix_is_no_form() -> None:
    # Of the last line end nothing hangs.
    for size in range(len(FORM) - 2):
        with pytest.raises(S3Error) as caught:
            decode([FORM[:size]])
        assert caught.value.row.code == "MalformedPOSTRequest", size


def test_a_large_file_passes_without_being_held() -> None:
    decoder = FormDecoder(BOUNDARY)
    decoder.feed(part("key", b"k") + part("file", b"")[:-2])
    piece = random.Random(1).randbytes(100_000)
    for _ in range(50):
        given_bytes = sum(len(event.data) for event in decoder.feed(piece) if isinstance(event, FileData))
        assert given_bytes > len(piece) - 100
    assert len(decoder._buffer) < 100


def test_no_two_ways_to_split_a_form_differ(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(200):
        cuts = sorted(rng.sample(range(len(FORM)), rng.randint(1, 30)))
        pieces = [FORM[a:b] for a, b in zip([0, *cuts], [*cuts, len(FORM)], strict=True)]
        assert told(decode(pieces)) == EXPECTED, cuts


def refused(form: bytes, code: str = "MalformedPOSTRequest", limits: FormLimits | None = None) -> None:
    for pieces in ([form], [bytes([byte]) for byte in form]):
        with pytest.raises(S3Error) as caught:
            decode(pieces, limits)
        assert caught.value.row.code == code


DASHES = b"--" + BOUNDARY


@pytest.mark.parametrize(
    "form",
    [
        b"",
        b"\r\n" + FORM,
        b"preamble\r\n" + FORM,
        b"-" + FORM,
        DASHES + b"x\r\n",
        DASHES + b" \r\n",
        DASHES + b"\n",
        DASHES + b"\r\n\r\nno header\r\n" + END,
        DASHES + b"\r\nContent-Type: text/plain\r\n\r\nx\r\n" + END,
        DASHES + b'\r\nContent-Disposition: form-data; name="a"\n\nx\r\n' + END,
        DASHES + b'\r\nContent-Disposition: form-data;\r\n name="a"\r\n\r\nx\r\n' + END,
        DASHES + b'\r\nContent-Disposition: attachment; name="a"\r\n\r\nx\r\n' + END,
        DASHES + b'\r\nContent-Disposition: form-data; filename="a"\r\n\r\nx\r\n' + END,
        DASHES + b'\r\nContent-Disposition: form-data; name=""\r\n\r\nx\r\n' + END,
        DASHES + b'\r\nContent-Disposition: form-data; name="a"; name="b"\r\n\r\nx\r\n' + END,
        DASHES + b'\r\nContent-Disposition: form-data; name="a\r\n\r\nx\r\n' + END,
        DASHES + b'\r\nContent-Disposition: form-data; name="a"b\r\n\r\nx\r\n' + END,
        DASHES + b"\r\nContent-Disposition: form-data; name=\"file\"; filename*=utf-8''a\r\n\r\nx\r\n" + END,
        DASHES + b'\r\nContent-Disposition: form-data; name="\xff"\r\n\r\nx\r\n' + END,
        DASHES + b'\r\nContent-Disposition: form-data; name="a\x00"\r\n\r\nx\r\n' + END,
        DASHES + 2 * b'\r\nContent-Disposition: form-data; name="a"' + b"\r\n\r\nx\r\n" + END,
        DASHES + b'\r\nContent-Disposition : form-data; name="a"\r\n\r\nx\r\n' + END,
        part("file", b"aGk=", more=b"Content-Transfer-Encoding: base64\r\n") + END,
        part("key", b"k") + part("file", b"x"),
        part("key", b"k") + part("file", b"x")[:-2],
    ],
)
def test_what_is_malformed(form: bytes) -> None:
    refused(form)


def test_exactly_one_file() -> None:
    refused(part("key", b"k") + END, "IncorrectNumberOfFilesInPostRequest")
    refused(part("file", b"1") + part("file", b"2") + END, "IncorrectNumberOfFilesInPostRequest")
    refused(part("file", b"1") + part("FILE", b"2") + END, "IncorrectNumberOfFilesInPostRequest")


def test_the_field_alone_says_what_is_the_file() -> None:
    form = part("key", b"k", filename="key") + part("FILE", b"x", filename="") + END
    assert told(decode([form])) == ({"key": b"k"}, "", b"x")


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ("a.txt", "a.txt"),
        ("%22a%0D%0a%22", '"a\r\n"'),
        ("100%", "100%"),
        ("%41", "%41"),
        ('a\\"b', 'a"b'),
        ("C:\\fake\\path", "C:\\fake\\path"),
        ("a; name=x", "a; name=x"),
        ("日本.txt", "日本.txt"),
    ],
)
def test_file_names(sent: str, name: str) -> None:
    assert told(decode([part("file", b"x", filename=sent) + END]))[1] == name


def test_a_file_without_a_name() -> None:
    assert told(decode([part("file", b"x") + END]))[1] is None


LIMITS = FormLimits(fields_bytes=2000, field_count=4, header_bytes=200)


def test_limits() -> None:
    too_large = "MaxPostPreDataLengthExceededError"
    room = LIMITS.fields_bytes - len(part("a", b"") + part("file", b"") + b"\r\n" + END)
    assert told(decode([part("a", b"x" * room) + part("file", b"y" * 10_000) + END], LIMITS))[2] == b"y" * 10_000
    refused(part("a", b"x" * (room + 1)) + part("file", b"y") + END, too_large, LIMITS)
    refused(part("file", b"y") + part("a", b"x" * (room + 1)) + END, too_large, LIMITS)
    refused(part("file", b"y") + END + b"z" * 2000, too_large, LIMITS)
    refused(part("a", b"") * 5 + END, too_large, LIMITS)
    refused(part("a", b"", more=b"X: " + b"y" * 200 + b"\r\n") + END, limits=LIMITS)
    # What does not end is refused before it has come.
    decoder = FormDecoder(BOUNDARY, LIMITS)
    decoder.feed(part("a", b"x" * room)[:-2])
    with pytest.raises(S3Error):
        decoder.feed(b"x" * 200)


@given(st.binary(max_size=300), st.lists(st.integers(0, 400), max_size=6))
def test_a_value_or_our_error_never_another(noise: bytes, cuts: list[int]) -> None:
    form = bytearray(FORM)
    for cut in cuts:
        form[cut % len(form)] = noise[cut % len(noise)] if noise else 0
    with contextlib.suppress(S3Error):
        decode([bytes(form), noise])


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/form-data; boundary=abc", b"abc"),
        ('Multipart/Form-Data;boundary="a b"', b"a b"),
        ("multipart/form-data; boundary=a; charset=utf-8", b"a"),
        ("multipart/form-data; boundary=" + "a" * 70, b"a" * 70),
    ],
)
def test_boundaries(content_type: str, boundary: bytes) -> None:
    assert boundary_of(content_type) == boundary


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        'multipart/form-data; boundary=""',
        'multipart/form-data; boundary="a "',
        "multipart/form-data; boundary=" + "a" * 71,
        "multipart/form-data; boundary=a; boundary=b",
        "multipart/form-data; boundary=a\xe4",
        "multipart/mixed; boundary=a",
        "application/x-www-form-urlencoded",
    ],
)
def test_what_is_no_form(content_type: str | None) -> None:
    with pytest.raises(S3Error) as caught:
        boundary_of(content_type)
    assert (caught.value.row.code, caught.value.row.status) == ("PreconditionFailed", 412)
    assert "multipart/form-data" in caught.value.fields["Condition"]
