"""The faults that a double of a KMS, or a proxy before one, shows where a test asks for them."""

from collections.abc import Callable


class Faults:
    """`error`: refuse everything with that code. `delay_s`: before each answer. `lie`: what becomes of a plaintext."""

    error: str | None = None
    delay_s = 0.0
    lie: Callable[[bytes], bytes] | None = None

    def reset(self) -> None:
        """Be honest and quick again."""
        self.error, self.delay_s, self.lie = None, 0.0, None
