"""The S3 front end: the only package that knows HTTP."""
