"""The sealed blob format: bytes and keys in, bytes out, nothing else. Source: docs/FORMAT.md."""
