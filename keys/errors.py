"""What can go wrong with keys.

KeysError
├── KmsUnavailable          unreachable, sealed, throttled, timed out      retryable
├── KmsDenied               the KMS refused this identity
├── KmsMisconfigured        the KMS, or what is set about it, is unfit to hold keys; says what to do
├── KmsKeyError
│   ├── KmsKeyNotFound      no such wrapping key
│   ├── KmsKeyDisabled      it exists and is switched off
│   └── KmsKeyInvalidState  pending deletion, destroyed, wrong kind
├── UnwrapFailed            the wrapped key does not authenticate under its context
├── CustomerKeyMismatch     the client's own key is not the one that it wrote with
├── CanaryFailed            the KMS answers, but not with the key that sealed this realm
└── KeyringError            the keyring file or its root secret cannot be used; says what to do
    ├── AliasTaken          another wrapping key has that name
    └── PassphraseUnfit     it is too weak, or is not the one that the keyring was made with
"""


class KeysError(Exception):
    """Root of all expected failures of this package. Messages never hold key material."""

    retryable = False


class KmsUnavailable(KeysError):
    """The KMS did not answer in time, or asked us to come back later."""

    retryable = True


class KmsDenied(KeysError):
    """The KMS refused the identity that Sealgate uses."""


class KmsMisconfigured(KeysError):
    """A KMS, or what is set about it, cannot be trusted with keys; the message says what to do."""


class KmsKeyError(KeysError):
    """The wrapping key itself cannot be used."""


class KmsKeyNotFound(KmsKeyError):
    """No wrapping key has that id."""


class KmsKeyDisabled(KmsKeyError):
    """The wrapping key exists and is disabled."""


class KmsKeyInvalidState(KmsKeyError):
    """The wrapping key is pending deletion, destroyed, or of a kind that cannot wrap."""


class UnwrapFailed(KeysError):
    """A wrapped key does not authenticate: altered, of another context, or of another wrapping key."""


class CustomerKeyMismatch(KeysError):
    """The key that a client brought is not the one that the content was written with."""


class CanaryFailed(KeysError):
    """The wrapping key is not the one that sealed this realm. Nothing may be sealed with it."""


class KeyringError(KeysError):
    """The keyring cannot be read or is unsafe; the message says what to do."""


class NotWritten(KeyringError):
    """The system does not let a private file or folder be made there; the message says what to do."""


class AliasTaken(KeyringError):
    """A wrapping key was to get a name that another one has."""


class PassphraseUnfit(KeyringError):
    """The passphrase cannot protect a keyring, or does not open this one; who read it knows from where."""
