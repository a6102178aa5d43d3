"""How long a silent host is waited for. A frozen machine's kernel goes on to acknowledge what it
is sent, so TCP notices nothing.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

SIGN_OF_LIFE_AFTER_S = 15.0
GIVE_UP_AFTER_S = 60.0


class PatientStream:
    """A socket (or what serves as one) whose writes fail when for too long none gets through.

    paramiko writes with a short timeout, and after it again, without end.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.recv = stream.recv
        self._stuck_since: float | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def send(self, data: bytes) -> int:
        """Write some of ``data``; return how much.

        :raises TimeoutError: when nothing could be written for now.
        :raises ConnectionAbortedError: when that has lasted too long.
        """
        try:
            count = int(self._stream.send(data))
        except TimeoutError:
            now = time.monotonic()
            self._stuck_since = self._stuck_since or now
            if now - self._stuck_since > GIVE_UP_AFTER_S:
                raise ConnectionAbortedError("the host takes no more data") from None
            raise
        self._stuck_since = None
        return count


@contextlib.contextmanager
def or_else(give_up: Callable[[], object]) -> Iterator[None]:
    """Call ``give_up`` if what is done inside takes too long; it should make that fail.

    For paramiko's waits that know no timeout, as for the answer to a request on a channel.
    """
    timer = threading.Timer(GIVE_UP_AFTER_S, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
