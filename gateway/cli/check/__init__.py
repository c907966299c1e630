"""`sealgate check`: whether this machine, these settings and these folders can serve, looked at without a change."""
