"""Generations of wrapping keys: who changes them begins one, and sees when no other gateway writes under an older one.

Gateways over one catalogue share the keys folder. Each holds a shared lock on the file of the generation that it makes
keys under, and lets go of it once it has read keys and realm anew and nothing that it made before is on its way. The
kernel ends a lock with its process, however that ends: nobody has to trust a clock or a process that is gone. Source:
flock(2).
"""

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from keys.errors import KeyringError

IsOver = Callable[[], bool]


@dataclass(slots=True)
class _Held:
    descriptor: int
    is_over: IsOver | None = None
    """Of an older generation: whether all that was made under it has arrived."""


@dataclass(slots=True)
class Generations:
    """The generations of one realm, as one gateway sees and holds them; files in a folder of their own."""

    folder: Path
    _held: dict[int, _Held] = field(default_factory=dict)

    @property
    def current(self) -> int:
        """The one that this gateway makes keys under; 0 before it has joined."""
        return max(self._held, default=0)

    @property
    def is_draining(self) -> bool:
        """Whether this gateway holds an older one as well."""
        return len(self._held) > 1

    def newest(self) -> int:
        """The one that was begun last; 0 where there is none. Raises: KeyringError."""
        return max(self._numbers(), default=0)

    def begin(self) -> int:
        """Begin a generation, once what it is about is durable. Raises: KeyringError."""
        with self._refusing():
            self.folder.mkdir(mode=0o700, exist_ok=True)
            while True:
                number = self.newest() + 1
                try:
                    os.close(os.open(self._path(number), os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
                except FileExistsError:
                    continue  # another gateway began one just now
                return number

    def join(self, number: int, is_over: IsOver) -> None:
        """Make keys under this generation from now on; older ones are held until `is_over`. Raises: KeyringError."""
        if number in self._held:
            return
        with self._refusing():
            self.folder.mkdir(mode=0o700, exist_ok=True)
            while (descriptor := self._locked(number)) is None:
                pass
        for held in self._held.values():
            held.is_over = held.is_over or is_over
        self._held[number] = _Held(descriptor)
        self.tidy()

    def _locked(self, number: int) -> int | None:
        """Its file, locked; None where somebody took it away meanwhile."""
        descriptor = os.open(self._path(number), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            if self._path(number).exists() and self._path(number).stat().st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        return None

    def tidy(self) -> None:
        """Let go of older generations under which nothing is on its way any more."""
        for number, held in list(self._held.items()):
            if held.is_over is not None and held.is_over():
                os.close(self._held.pop(number).descriptor)

    def behind_count(self) -> int:
        """Older generations that some gateway still holds, this one too. Raises: KeyringError."""
        self.tidy()
        numbers = self._numbers()
        return sum(self._is_held(number) for number in numbers if number < max(numbers))

    def close(self) -> None:
        """Let go of all."""
        for held in self._held.values():
            os.close(held.descriptor)
        self._held.clear()

    def _is_held(self, number: int) -> bool:
        """Whether anybody holds it; the file of one that nobody does goes: it is never joined again."""
        with self._refusing():
            try:
                descriptor = os.open(self._path(number), os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:
                return False
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._path(number).unlink(missing_ok=True)
            except BlockingIOError:
                return True
            finally:
                os.close(descriptor)
        return False

    def _numbers(self) -> list[int]:
        with self._refusing():
            try:
                return [int(path.name) for path in self.folder.iterdir() if path.name.isdecimal()]
            except FileNotFoundError:
                return []

    def _path(self, number: int) -> Path:
        return self.folder / f"{number}"

    @contextlib.contextmanager
    def _refusing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise KeyringError(
                f"{self.folder} cannot be used ({error.strerror}); check its file system, which must know flock"
            ) from None
