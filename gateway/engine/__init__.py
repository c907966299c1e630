"""Joins catalogue, blobs and keys into objects; knows nothing of HTTP."""
