"""Data keys and who wraps them; knows nothing of HTTP, S3 or storage."""
