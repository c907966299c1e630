import pytest

from gateway.s3.errors import S3Error
from gateway.s3.notifications import (
    MAX_CONFIGURATIONS,
    Configuration,
    Destination,
    Notifications,
    decode_notifications,
    notifications_node,
    read_notifications,
)


def line(events: str = "s3:ObjectCreated:*", *, name: str = "<Id>i</Id>", more: str = "") -> str:
    told = "".join(f"<Event>{event}</Event>" for event in events.split())
    arn = "arn:sealgate:webhook:::hook"
    return f"<QueueConfiguration>{name}<Queue>{arn}</Queue>{told}{more}</QueueConfiguration>"


def document(*lines: str) -> bytes:
    return f"<NotificationConfiguration>{''.join(lines)}</NotificationConfiguration>".encode()


def keys(*rules: tuple[str, str]) -> str:
    inner = "".join(f"<FilterRule><Name>{n}</Name><Value>{v}</Value></FilterRule>" for n, v in rules)
    return f"<Filter><S3Key>{inner}</S3Key></Filter>"


@pytest.mark.parametrize(
    ("events", "event", "wanted"),
    [
        (("ObjectCreated:*",), "ObjectCreated:Post", True),
        (("ObjectCreated:Put",), "ObjectCreated:Put", True),
        (("ObjectCreated:Put",), "ObjectCreated:Post", False),
        (("ObjectRemoved:*", "ObjectCreated:Put"), "LifecycleExpiration:Delete", False),
    ],
)
def test_events(events: tuple[str, ...], event: str, wanted: bool) -> None:
    one = Configuration(Destination.QUEUE, "i", "hook", events)
    assert one.wants(event, b"k") == wanted


@pytest.mark.parametrize(
    ("prefix", "suffix", "key", "wanted"),
    [
        ("", "", b"k", True),
        ("a/", "", b"a/", True),
        ("a/", "", b"a", False),
        ("", ".jpg", b".jpg", True),
        ("", ".jpg", b"x.JPG", False),
        ("ab", "bc", b"abc", True),
        ("é", "", "é/x".encode(), True),
    ],
)
def test_keys(prefix: str, suffix: str, key: bytes, wanted: bool) -> None:
    one = Configuration(Destination.QUEUE, "i", "hook", ("ObjectCreated:*",), prefix, suffix)
    assert list(Notifications((one,)).wanting("ObjectCreated:Put", key)) == ([one] if wanted else [])


def test_what_is_read_is_written_back() -> None:
    sent = document(
        line(more=keys(("Prefix", "a&amp;b"), ("SUFFIX", ".x"))),
        line("s3:ObjectRemoved:Delete s3:ObjectRemoved:Delete", name="<Id>j</Id>", more="<Filter/>"),
    )
    held = read_notifications(sent)
    assert [(one.prefix, one.suffix, one.events) for one in held.configurations] == [
        ("a&b", ".x", ("ObjectCreated:*",)),
        ("", "", ("ObjectRemoved:Delete",)),
    ]
    assert decode_notifications(notifications_node(held).document()) == held
    assert read_notifications(document()) == Notifications()


def test_a_line_without_an_id_gets_one() -> None:
    first, second = read_notifications(document(line(name=""), line("s3:ObjectRemoved:*", name="<Id/>"))).configurations
    assert len(first.configuration_id) == 32
    assert first.configuration_id != second.configuration_id


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ([line("")], "MalformedXML"),
        ([line(more="<More/>")], "MalformedXML"),
        ([line(more=keys(("prefix", "a"), ("Prefix", "b")))], "InvalidArgument"),
        ([line(more="<Filter><S3Key><FilterRule><Value>a</Value></FilterRule></S3Key></Filter>")], "MalformedXML"),
        ([line("ObjectCreated:*")], "InvalidArgument"),
        ([line("s3:ObjectCreated:put")], "InvalidArgument"),
        ([line("s3:*")], "InvalidArgument"),
        ([line("s3:Replication:*")], "NotImplemented"),
        ([line(), line()], "InvalidArgument"),
        ([line(), line(name="<Id>j</Id>", more=keys(("suffix", ".jpg")))], "InvalidArgument"),
        ([line(name=f"<Id>{n}</Id>") for n in range(MAX_CONFIGURATIONS + 1)], "MalformedXML"),
        (["<EventBridgeConfiguration/>"], "NotImplemented"),
        (["<QueueConfiguration><Event>s3:ObjectCreated:*</Event></QueueConfiguration>"], "MalformedXML"),
    ],
)
def test_what_cannot_stand(lines: list[str], code: str) -> None:
    with pytest.raises(S3Error) as caught:
        read_notifications(document(*lines))
    assert caught.value.row.code == code


def test_the_most_lines() -> None:
    many = [line(name=f"<Id>{n}</Id>", more=keys(("prefix", f"{n}/"))) for n in range(MAX_CONFIGURATIONS)]
    assert len(read_notifications(document(*many)).configurations) == MAX_CONFIGURATIONS
