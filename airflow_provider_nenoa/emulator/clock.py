"""The time by which limits are counted and presigned URLs expire."""

from __future__ import annotations

import time


class Clock:
    """Unix time that a test can stop and move. How long runs take does not depend on it."""

    def __init__(self) -> None:
        self._offset = 0.0
        self._frozen: float | None = None

    def time(self) -> float:
        """Unix seconds."""
        return (time.time() if self._frozen is None else self._frozen) + self._offset

    def freeze(self, at: float | None = None) -> None:
        """Stop at the given Unix time, or at the present."""
        self._frozen, self._offset = (self.time() if at is None else at), 0.0

    def advance(self, seconds: float) -> None:
        """Jump ahead."""
        self._offset += seconds

    def reset(self) -> None:
        """Real time again."""
        self._offset, self._frozen = 0.0, None
