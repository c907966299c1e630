"""Moving data in and out: from a folder or a plain S3 bucket into a sealed bucket, and back.

Places (`folder`, `bucket`) know nothing of the catalogue; `importing` and `exporting` decide what becomes of each
object; `jobs` keeps how far a move has come. Source: docs/MOVING.md.
"""
