"""The KMS contract and its providers."""
