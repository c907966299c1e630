"""Bytes and records at rest. Knows nothing of HTTP or of a KMS."""
