"""The command line of Sealgate."""
