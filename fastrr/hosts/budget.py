"""How much is under way at once: what is asked of a host about files, and sent, takes memory."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from fastrr.errors import Interrupted

FILES_AT_ONCE = 40_000
"""In one worker process; half a kilobyte or so is kept of each, besides its content."""
_LOOK_EVERY_S = 0.2


class Room:
    """For so many files at once; hosts with more have to wait, and one alone may have any number.

    Shared by the threads of a worker.
    """

    def __init__(self, files: int = FILES_AT_ONCE) -> None:
        self._size = files
        self._taken = 0
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def for_files(self, count: int, cancelled: threading.Event) -> Iterator[None]:
        """Have room for ``count`` files for the time inside.

        :raises Interrupted: when ``cancelled`` is set while waiting for it.
        """
        with self._changed:
            while self._taken and self._taken + count > self._size:
                if cancelled.is_set():
                    raise Interrupted("interrupted")
                self._changed.wait(_LOOK_EVERY_S)
            self._taken += count
        try:
            yield
        finally:
            with self._changed:
                self._taken -= count
                self._changed.notify_all()
