"""The copy step on one host: make room, send, verify, put in place."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from fastrr import delta, install
from fastrr.delta import Decision
from fastrr.errors import CommandFailed, HostError, Interrupted
from fastrr.events import Event, Sent
from fastrr.hosts.base import ANSWER_WITHIN_S, SLOWEST_READ_BYTES_S, ask
from fastrr.install import Held, InstallFailure
from fastrr.model import Algorithm, Copy, Signature
from fastrr.probe import HostFacts
from fastrr.requests import CopyReport
from fastrr.steps.context import Context
from fastrr.transports import (
    Basis,
    Item,
    Share,
    choose,
    make_transport,
    programs_here,
)

SENT_EVENT_EVERY_S = 0.1


def copy(
    context: Context,
    facts: HostFacts,
    decision: Decision,
    digests: Mapping[Algorithm, Mapping[str, str]],
) -> CopyReport:
    """Make the directories, and copy what was decided; see `CopyFiles` for ``digests``.

    :raises HostError: when the host failed; a file that fails is in the report.
    :raises Interrupted: when the run was cancelled.
    """
    able = install.abilities(facts)
    ancestors = delta.missing_directories(facts)
    held = install.hold(decision.copies, digests, able, context.run_id, ancestors)
    preparation = install.Preparation.of(decision.base_dirs, decision.directories, held)
    with context.timed("prepare"):
        body, _ = ask(context.host, install.prepare_script(preparation), "making directories")
    if unmade := install.parse_prepared(preparation, body):
        _abandon(context, held)
        reasons = (f"the directory {path} can't be made: {why}" for path, why in unmade.items())
        return CopyReport(0, 0, tuple(reasons))
    if not held:
        return CopyReport(0, 0)
    try:
        return _fill(context, facts, held)
    except (HostError, Interrupted):
        _abandon(context, held)
        raise


def _fill(context: Context, facts: HostFacts, held: Sequence[Held]) -> CopyReport:
    failures, spared = _send(context, facts, held)
    script = install.finish_script(held, context.settings.gmac_key)
    size = sum(h.copy.size for h in held)
    limit_s = ANSWER_WITHIN_S + size / SLOWEST_READ_BYTES_S
    with context.timed("verify", _amount(len(held), size)):
        body, completed = ask(context.host, script, "verifying the copies", limit_s)
    unfinished = install.parse_finished(held, body)
    for number, failure in unfinished.items():
        failures.setdefault(number, _explained(context, held[number], failure, completed.stderr))
    if completed.stderr.strip() and not failures:
        said = completed.last_words()
        context.log(logging.WARNING, f"all files are in place, but putting them there said: {said}")
    placed = [h for number, h in enumerate(held) if number not in unfinished]
    sent = sum(h.copy.size for h in placed if h.same_as is None)
    return CopyReport(len(placed), max(0, sent - spared), tuple(failures.values()))


def _send(context: Context, facts: HostFacts, held: Sequence[Held]) -> tuple[dict[int, str], int]:
    """Have the content sent; return what failed, by number in ``held``, and why.

    Also how many of its bytes were there already, and did not have to be sent.
    """
    numbers = [number for number, h in enumerate(held) if h.same_as is None]
    items = [
        Item(held[n].copy.source, held[n].path, held[n].copy.size, _basis(held[n].copy))
        for n in numbers
    ]
    shares = choose(context.settings.transport, items, programs_here(), facts.tools)
    meter = _Meter(context.host.name, context.emit, context.cancelled)
    failed: dict[int, str] = {}
    spared = 0
    for share in shares:
        part = [items[n] for n in share.numbers]
        size = sum(item.size for item in part)
        amount = f"{_amount(len(part), size)}, by {share.transport}"
        context.log(logging.DEBUG, f"{amount}: {share.why}")
        with context.timed("copy", amount):
            refused, wire_bytes = _send_share(context, share, part, meter)
        spared += max(0, size - wire_bytes) if wire_bytes is not None else 0
        failed.update({share.numbers[n]: why for n, why in refused.items()})
    meter.flush()
    explained = {
        numbers[number]: (
            f"{items[number].source} could not be copied to "
            f"{held[numbers[number]].copy.destination}: {why}"
        )
        for number, why in failed.items()
    }
    return explained, spared


def _amount(files: int, size: int) -> str:
    return f"{files} files, {size / 1e6:,.1f} MB"


def _basis(copy: Copy) -> Basis | None:
    """The file in which rsync may look for what is there already."""
    return None if copy.replaces is None else Basis(copy.destination, copy.replaces)


def _send_share(
    context: Context, share: Share, items: Sequence[Item], meter: _Meter
) -> tuple[dict[int, str], int | None]:
    """Send by the transport chosen; what rsync can't do, the stream will.

    Returns what failed, and how much went out where that is not just the content.
    """
    transport = make_transport(share.transport)
    try:
        return transport.send(context.host, items, meter.add), transport.wire_bytes
    except CommandFailed as error:
        if share.fallback is None:
            raise
        context.log(logging.WARNING, f"{error}; sending all of the files by {share.fallback}")
        return make_transport(share.fallback).send(context.host, items, meter.add), None


def _explained(context: Context, held: Held, failure: InstallFailure, said: bytes) -> str:
    copy = held.copy
    if failure is InstallFailure.RENAME:
        words = [line for line in said.decode(errors="replace").splitlines() if line.strip()]
        about = [line for line in words if os.path.basename(copy.destination) in line]
        why = (about or words or ["it is not said why"])[-1]
        return f"{copy.destination} {failure.value}: {why}"
    if _changed(copy.source, context.sources[copy.source].signature):
        return (
            f"{copy.source} changed while it was being copied to {copy.destination}, "
            "which was left as it was"
        )
    return f"{copy.destination} was left as it was: {failure.value} (from {copy.source})"


def _changed(path: str, signature: Signature) -> bool:
    try:
        return Signature.of(os.stat(path)) != signature
    except OSError:
        return True


def _abandon(context: Context, held: Sequence[Held]) -> None:
    """Remove what was not put in place; if that can't be done, say where it is."""
    if not held:
        return
    try:
        context.host.run(install.discard_script(held), limit_s=ANSWER_WITHIN_S)
    except HostError as error:
        directories = install.holding_directories(held)
        more = f" and {len(directories) - 1} more like it" if len(directories) > 1 else ""
        context.log(
            logging.WARNING,
            f"what was copied so far may be left in {directories[0]}{more} ({error}); "
            "remove it by hand, or leave that to a run of fastrr a day from now",
        )


def discard(context: Context, base_dirs: Sequence[str]) -> None:
    """Remove the temporary base_dirs of a run that started nothing."""
    if base_dirs:
        context.host.run(install.remove_script(base_dirs), limit_s=ANSWER_WITHIN_S)


class _Meter:
    """Counts bytes as they go out, tells of them now and then, and stops a cancelled copy."""

    def __init__(
        self, host: str, emit: Callable[[Event], None], cancelled: threading.Event
    ) -> None:
        self._host = host
        self._emit = emit
        self._cancelled = cancelled
        self._untold = 0
        self._told_at = time.monotonic()

    def add(self, count: int) -> None:
        if self._cancelled.is_set():
            raise Interrupted("interrupted")
        self._untold += count
        if time.monotonic() - self._told_at >= SENT_EVENT_EVERY_S:
            self.flush()

    def flush(self) -> None:
        if self._untold:
            self._emit(Sent(self._host, self._untold))
        self._untold = 0
        self._told_at = time.monotonic()
