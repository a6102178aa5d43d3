"""No more is prepared at once than there is room for; nobody waits for ever."""

from __future__ import annotations

import threading
import time
from threading import Thread

import pytest

from fastrr.errors import Interrupted
from fastrr.hosts.budget import Room


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

    threads = [Thread(target=take, args=(count,), daemon=True) for count in [1, 2, 3, 4, 5, 6] * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive(), "nobody makes room for it"
    assert 6 <= most <= 10
    assert inside == 0


def test_who_needs_more_than_there_is_gets_it_alone() -> None:
    room, never = Room(10), threading.Event()
    inside, leave, after = threading.Event(), threading.Event(), threading.Event()

    def take_much() -> None:
        with room.for_files(1000, never):
            inside.set()
            leave.wait(20)

    def take_one() -> None:
        with room.for_files(1, never):
            after.set()

    Thread(target=take_much, daemon=True).start()
    assert inside.wait(10)
    Thread(target=take_one, daemon=True).start()
    assert not after.wait(0.3)
    leave.set()
    assert after.wait(10)


def test_who_waits_can_be_cancelled() -> None:
    room, cancelled, told = Room(1), threading.Event(), threading.Event()

    def take() -> None:
        with pytest.raises(Interrupted), room.for_files(1, cancelled):
            pass
        told.set()

    with room.for_files(1, threading.Event()):
        Thread(target=take, daemon=True).start()
        assert not told.wait(0.1)
        cancelled.set()
        assert told.wait(10)
    with room.for_files(1, cancelled):  # what there is room for needs no waiting
        pass
