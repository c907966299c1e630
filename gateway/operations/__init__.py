"""S3 semantics, one file per family; `table` is the whole surface on one page."""
