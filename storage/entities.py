"""The look at an XML document of somebody who is not trusted, before a parser that would expand entities reads it."""


def may_have_entities(document: bytes) -> bool:
    """Whether it has a document type, or might have one that is not seen, as in UTF-16.

    expat takes whatever has a zero byte at its beginning for UTF-16, and no other encoding in which ASCII is not ASCII.
    """
    return b"<!DOCTYPE" in document or b"\0" in document
