"""The journal of one realm: what the catalogue did, as a chain of sealed blobs beside the data."""
