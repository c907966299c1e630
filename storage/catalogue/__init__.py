"""The catalogue: what is where, who owns it, under which keys."""
