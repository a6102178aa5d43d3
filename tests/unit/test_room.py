"""No more is prepared at once than there is room for; nobody waits for ever."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from fastrr.errors import Interrupted
from fastrr.steps.room import Room


def test_no_more_than_there_is_room_for() -> None:
    room, never = Room(10), threading.Event()
    inside, most = 0, 0
    lock = threading.Lock()

    def take(count: int) -> None:
        nonlocal inside, most
        with room.for_files(count, never):
            with lock:
                inside += count
                most = max(most, inside)
            time.sleep(0.01)
            with lock:
                inside -= count

    with ThreadPoolExecutor(20) as threads:
        list(threads.map(take, [1, 2, 3, 4, 5, 6] * 10))
    assert 6 <= most <= 10
    assert inside == 0


def test_who_needs_more_than_there_is_gets_it_alone() -> None:
    room, never = Room(10), threading.Event()
    with room.for_files(1000, never):
        waiting = threading.Thread(target=lambda: room.for_files(1, never).__enter__())
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive()
    waiting.join(5)
    assert not waiting.is_alive()


def test_who_waits_can_be_cancelled() -> None:
    room, cancelled = Room(1), threading.Event()
    with room.for_files(1, threading.Event()):
        threading.Timer(0.1, cancelled.set).start()
        with pytest.raises(Interrupted), room.for_files(1, cancelled):
            pass
    with room.for_files(1, cancelled):  # what there is room for needs no waiting
        pass
