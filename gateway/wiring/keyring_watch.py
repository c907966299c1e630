"""The watch over the keys folder: whoever takes it away from a gateway that serves is noticed before a restart is.

The keys are in memory, so nothing else would show it; and what is sealed without the folder opens never again once
the process has ended.
"""

import logging
from collections.abc import Awaitable, Callable

from gateway.telemetry import Telemetry
from keys.errors import KeyringError, KmsUnavailable
from keys.keyring_file import LocalKeyring

_log = logging.getLogger(__name__)


class KeyringWatch:
    """Looks at the keys folder, and holds what came of it."""

    def __init__(
        self,
        keyring: LocalKeyring,
        telemetry: Telemetry,
        pause: Callable[[KmsUnavailable | None], None],
        on_change: Callable[[], Awaitable[None]],
    ) -> None:
        """`pause` is told why nothing may be published, and None when it may again.

        `on_change` is awaited when another process changed the keyring, which has been taken over by then.
        """
        self._keyring = keyring
        self._telemetry = telemetry
        self._pause = pause
        self._on_change = on_change
        self.is_kept = True
        """The folder held what is in memory when it was last looked at."""

    async def look(self) -> None:
        """Look once. Reads go on without the folder, writes get 503 until it is back."""
        try:
            is_changed = self._keyring.check_kept()
        except KeyringError as error:
            if self.is_kept:
                self._telemetry.alarm(type(error).__name__, error=error)
                _log.critical("the keys folder is not as it was, so nothing is written until it is back: %s", error)
            self.is_kept = False
            self._pause(KmsUnavailable("the keys folder is not as it was"))
        else:
            if not self.is_kept:
                _log.warning("the keys folder is back, writes go on")
            self.is_kept = True
            self._pause(None)
            if is_changed:
                _log.warning("another process changed the keyring: its keys are used from now on")
                await self._on_change()
