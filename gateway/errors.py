"""What can be wrong with the gateway around its requests. Each message is one line that says what to do.

SettingsError       a setting, or a file that one names, cannot stand
ServeError          an address cannot be listened on
TlsError            a certificate, its key or the TLS library cannot be used as asked
MoveError           an import or export; `gateway/moving/places.py` says of what

They stand here, apart from those who raise them, so that the command line knows them all and loads nothing for it.
"""


class SettingsError(ValueError):
    """A setting is unknown or has a value that cannot stand. One line, which says what to do and shows no secret."""


class ServeError(Exception):
    """The gateway cannot begin to serve; the message says why."""


class TlsError(Exception):
    """The certificate, its key or the TLS library cannot be used as asked; the message says which."""


class MoveError(Exception):
    """The root of what a place may raise; the message is one line for whoever reads the report."""
