"""The only rooms that know HTTP as a server speaks it: protocol, endpoint, bodies, listeners."""
