"""Named points between two durable steps, where a test may stop the process or make it fail.

Production code says `reach("blob.synced")`; nothing listens there but the crash tests, which install a hook in a
launcher of their own. No setting and no environment variable can.
"""

from collections.abc import Callable

hook: Callable[[str], None] | None = None
"""Called with the name of every point reached; None outside crash tests."""


def reach(name: str) -> None:
    """Say that the point of that name is reached."""
    if hook is not None:
        hook(name)
