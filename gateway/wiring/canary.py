"""The watch over the KMS: a silent one degrades the gateway, one that answers wrongly ends it (DESIGN part 3)."""

import logging
from collections.abc import Awaitable, Callable

from gateway.telemetry import Telemetry
from gateway.wiring.realm import RealmFiles, RealmRecord
from keys.errors import CanaryFailed, KeysError
from keys.kms.base import Kms
from keys.realm import check_canary

_log = logging.getLogger(__name__)


class CanaryWatch:
    """Asks the KMS to open the canary, and holds what came of it."""

    def __init__(
        self,
        kms: Kms,
        realm: RealmFiles | RealmRecord,
        telemetry: Telemetry,
        *,
        deadline_s: float,
        on_wrong: Callable[[CanaryFailed], None] = lambda _: None,
        look_at_others: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`on_wrong` is called at once where the KMS is the wrong one: nothing more may be sealed.

        `look_at_others` raises CanaryFailed where one of the KMSs besides the default is another than it was.
        """
        self._kms = kms
        self._realm = realm
        self._telemetry = telemetry
        self._deadline_s = deadline_s
        self._on_wrong = on_wrong
        self._look_at_others = look_at_others
        telemetry.canary_proved_at.set_to_current_time()  # the realm's keys were opened by that proof
        self.is_kms_right = True
        """The KMS answered, and rightly, when it was last asked."""

    async def ask(self) -> None:
        """Ask once."""
        try:
            await check_canary(self._kms, self._realm.realm_id, self._realm.canary, deadline_s=self._deadline_s)
            if self._look_at_others is not None:
                await self._look_at_others()
        except CanaryFailed:
            self.is_kms_right = False
            self._telemetry.alarm("canary")
            self._on_wrong(CanaryFailed("stopped: the KMS answers, but no longer with the key that sealed this realm"))
        except KeysError as error:
            # Degrade: what is cached goes on, and the operator is told.
            self.is_kms_right = False
            self._telemetry.kms_failed(type(error).__name__)
            _log.warning("the KMS did not answer the canary: %s", error)
        else:
            self.is_kms_right = True
            self._telemetry.canary_proved_at.set_to_current_time()
