"""A catalogue whose commands answer only once the journal has them: `journal = sync`.

So the loss of the catalogue takes nothing that was acknowledged. Reads and background jobs are as they were.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

from storage.catalogue.base import Catalogue

AWAITED: Final = frozenset(
    {
        "create_account",
        "create_access_key",
        "set_access_key_enabled",
        "delete_access_key",
        "create_bucket",
        "delete_bucket",
        "set_versioning",
        "enable_object_lock",
        "put_configuration",
        "publish_version",
        "delete_versions",
        "update_version",
        "create_upload",
        "put_part",
        "complete_upload",
        "abort_upload",
    }
)
"""Commands that somebody waits for and relies on."""


class _Synced:
    def __init__(self, catalogue: Catalogue, settle: Callable[[], Awaitable[None]]) -> None:
        self._catalogue = catalogue
        self._settle = settle

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._catalogue, name)
        if name not in AWAITED:
            return attribute

        async def settled(*arguments: Any, **named: Any) -> Any:
            answer = await attribute(*arguments, **named)
            await self._settle()
            return answer

        return settled


def synced(catalogue: Catalogue, settle: Callable[[], Awaitable[None]]) -> Catalogue:
    """The same catalogue; `settle` returns once all that was committed before is journalled."""
    return cast("Catalogue", _Synced(catalogue, settle))
