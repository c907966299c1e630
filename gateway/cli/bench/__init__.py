"""`sealgate bench`: what this machine gives a user, and what limits it."""
