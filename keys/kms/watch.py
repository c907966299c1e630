"""What is told of a KMS while it serves: each call to whoever counts, and one line when it goes and when it is back."""

import logging
import time
from collections.abc import Callable
from typing import Final

from keys.errors import KeysError, KmsDenied, KmsUnavailable

_log = logging.getLogger(__name__)

Observe = Callable[[str, str, str, float], None]
"""Provider, call (wrap, unwrap, rewrap, describe), outcome (ok, or the kind of the failure), seconds."""

OK: Final = "ok"


def _nobody(provider: str, call: str, outcome: str, seconds: float) -> None:
    del provider, call, outcome, seconds


class Watch:
    """The state of one KMS as its calls show it. Belongs to one event loop; `clock` is monotonic, in seconds."""

    def __init__(self, provider: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._provider = provider
        self._clock = clock
        self.observe: Observe = _nobody
        self._away_since: float | None = None
        self._denied_since: float | None = None
        self._failed_count = 0

    @property
    def is_away(self) -> bool:
        """Whether the last call found it unavailable."""
        return self._away_since is not None

    def ended(self, call: str, began: float, error: BaseException | None) -> None:
        """Note how a call ended. One that was given up counts as nothing."""
        if error is not None and not isinstance(error, KeysError):
            return
        self.observe(self._provider, call, OK if error is None else type(error).__name__, self._clock() - began)
        if isinstance(error, KmsUnavailable):
            self._failed_count += 1
            if self._away_since is None:
                self._away_since = began
                _log.error(
                    "KMS %s is away: %s. Keys in the cache serve on, at most 300 s; what needs others gets 503",
                    self._provider,
                    error,
                )
            return
        if self._away_since is not None:
            away_s, count = self._clock() - self._away_since, self._failed_count
            self._away_since, self._failed_count = None, 0
            _log.warning("KMS %s is back after %.1f s; %d calls failed", self._provider, away_s, count)
        self._tell_denials(error)

    def _tell_denials(self, error: BaseException | None) -> None:
        if isinstance(error, KmsDenied):
            if self._denied_since is None:
                self._denied_since = self._clock()
                _log.error("KMS %s refuses us: %s", self._provider, error)
        elif self._denied_since is not None:
            denied_s, self._denied_since = self._clock() - self._denied_since, None
            _log.warning("KMS %s no longer refuses us, after %.1f s", self._provider, denied_s)
