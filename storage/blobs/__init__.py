"""Blob stores: immutable sealed blobs by random id."""
