"""The copy step on one host: make room, send, verify, put in place."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from fastrr.errors import CommandFailed, ConnectionLost, HostError, Interrupted
from fastrr.events import Event, Sent, Span
from fastrr.files import compare, place, staging
from fastrr.files.algorithms import supported_algorithms
from fastrr.files.check import Findings
from fastrr.files.compare import Decision
from fastrr.files.method import Share, choose
from fastrr.files.place import Finished, InstallFailure, Parcel
from fastrr.files.probe import Answer
from fastrr.files.settings import FileSettings
from fastrr.files.staging import Held, Preparation, Prepared
from fastrr.files.transports import (
    NOT_MADE,
    UNKNOWN,
    Basis,
    Item,
    StreamTransport,
    make_transport,
    programs_here,
)
from fastrr.hosts import machine
from fastrr.hosts.base import (
    ANSWER_WITHIN_S,
    SLOWEST_READ_BYTES_S,
    Completed,
    Unanswered,
    answer_of,
    ask,
    understood,
)
from fastrr.hosts.context import Context
from fastrr.model import Algorithm, Copy, Signature

SENT_EVENT_EVERY_S = 0.1

NAMES_TRIED = 3
"""For holding directories, where somebody else has been quicker to make one."""


class CopyReport(NamedTuple):
    """What became of a host's copies."""

    copied: int
    bytes: int
    """Sent for them; content wanted at several places counts once, what rsync found there not."""
    failures: tuple[str, ...] = ()


class CopyFiles(NamedTuple):
    """Make directories and copy what was decided."""

    digests: Mapping[Algorithm, Mapping[str, str]]
    """Of the wanted sources, by the algorithm that verifies them there."""
    settings: FileSettings = FileSettings()

    @property
    def only_waits(self) -> bool:
        return False

    def handle(self, context: Context) -> CopyReport:
        """See `Request`; a file that fails is in the report."""
        findings, decision = context.kept(Findings), context.kept(Decision)
        assert findings is not None
        assert decision is not None
        context.keep(_Made(decision.base_dirs))
        with context.room.for_files(len(decision.copies), context.cancelled):
            return _copy(context, self, findings.seen.answer, decision)


class _Made(NamedTuple):
    """The temporary base_dirs that may have been made."""

    base_dirs: tuple[str, ...]


class Discard:
    """Remove the temporary base_dirs: the run ends before anything was started."""

    @property
    def only_waits(self) -> bool:
        return False

    def handle(self, context: Context) -> None:
        """See `Request`."""
        made = context.kept(_Made)
        if made is not None and made.base_dirs:
            context.host.run(staging.remove_script(made.base_dirs), limit_s=ANSWER_WITHIN_S)


def _copy(context: Context, request: CopyFiles, answer: Answer, decision: Decision) -> CopyReport:
    able = supported_algorithms(answer.hashers)
    missing = compare.missing_directories(answer.storage, answer.facts.home)
    base_dirs = decision.base_dirs
    taken: Mapping[str, str] = {}
    for attempt in range(NAMES_TRIED):
        held = staging.hold(
            decision.copies,
            request.digests,
            able,
            context.new_name(),
            missing,
            # From name to name, where others can put a link in the place of either.
            send_once=not request.settings.allow_shared,
        )
        job = _Job(context, request.settings, held)
        preparation = Preparation.of(base_dirs, decision.directories, held, missing)
        in_stream = None if attempt else preparation.in_stream(missing, held)
        parcel = job.parcel(in_stream)
        try:
            if parcel is None or in_stream is None:
                prepared = _prepare(context, preparation)
                if prepared.failures:
                    unmade = prepared.failures.items()
                    reasons = (f"the directory {path} can't be made: {why}" for path, why in unmade)
                    return CopyReport(0, 0, tuple(reasons))
                base_dirs, taken = (), prepared.taken
                if taken:
                    continue
            if not held:
                return CopyReport(0, 0)
            context.host.proof = machine.proof(context.facts.which, held[0].holding)
            return job.send_and_install() if parcel is None else job.send_parcel(parcel)
        except _NotMade:
            continue
        except (HostError, Interrupted):
            _abandon(context, staging.holding_directories(held))
            raise
    if not taken:
        raise CommandFailed("no directory could be made there to put the files in")
    return CopyReport(0, 0, tuple(_taken(path, whose) for path, whose in taken.items()))


class _NotMade(Exception):
    """The command that sends everything could not make the holding directories."""


def _prepare(context: Context, preparation: Preparation) -> Prepared:
    """Make directories; where some can't be made, the holding directories are removed again."""
    with context.timed("prepare"):
        script = staging.prepare_script(preparation)
        body, _ = ask(context.host, script, "making directories")
    prepared = understood(lambda: staging.parse_prepared(preparation, body))
    if prepared.failures or prepared.taken:
        _abandon(context, [path for path in preparation.holding if path not in prepared.unmade])
    return prepared


def _taken(path: str, whose: str) -> str:
    return (
        f"{path} is somebody else's: {whose}; so were {NAMES_TRIED - 1} other names before it: "
        "whoever takes them can write to the directory they are in"
    )


class _Job:
    """What is to be copied to a host, and how."""

    def __init__(self, context: Context, settings: FileSettings, held: Sequence[Held]) -> None:
        facts = context.facts
        self._context = context
        self._settings = settings
        self._held = held
        self._numbers = [number for number, h in enumerate(held) if h.same_as is None]
        self._items = [_item(held[n]) for n in self._numbers]
        self._perl = "perl" in facts.tools
        # Where a directory may be shared, others can exchange what is in it, holding directories
        # and the script in them, too.
        self._tables_in = facts.home if settings.allow_shared else None
        self._meter = _Meter(context.host.name, context.emit, context.cancelled)
        self._shares = choose(settings.transport, self._items, programs_here(), facts.tools)
        size = sum(h.copy.size for h in held)
        self._limit_s = ANSWER_WITHIN_S + size / SLOWEST_READ_BYTES_S
        """For verifying; a disk slower than that is taken for one that hangs."""

    def parcel(self, in_stream: Sequence[str] | None) -> Parcel | None:
        """Return what makes one stream of everything, if that is how it goes.

        ``in_stream``: the directories to be made besides, if nothing has to be prepared before.
        """
        if [share.transport for share in self._shares] != [StreamTransport.name]:
            return None
        if self._tables_in is not None:
            return None
        if StreamTransport().is_bulk(sum(item.size for item in self._items)):
            return None
        return place.parcel(
            self._held,
            self._settings.gmac_key,
            holding_exists=in_stream is None,
            missing=in_stream or (),
            perl=self._perl,
        )

    def send_parcel(self, parcel: Parcel) -> CopyReport:
        """Send the files, and what verifies them and puts them in place, by one stream."""
        context, (share,) = self._context, self._shares
        with self._timed(share):
            refused, completed = StreamTransport().send_parcel(
                context.host, self._items, self._meter.add, parcel, self._limit_s
            )
        self._meter.flush()
        # Login files may have printed something; the parcel's script has not.
        if completed.status == NOT_MADE and parcel.script.body_of(completed.stdout) is None:
            raise _NotMade
        if not completed.stdout and completed.stderr.strip():
            raise CommandFailed(f"the files can't be unpacked: {completed.last_words()}")
        with _unknown_if_unanswered():
            body = answer_of(completed, parcel.script, _VERIFYING, parcel.asked_bytes)
        finished = understood(lambda: place.parse_finished(self._held, body))
        if finished.incomplete:
            raise CommandFailed(f"not all files could be unpacked: {completed.last_words()}")
        if finished.seconds is not None:
            now = time.monotonic()
            span = Span(context.host.name, "verify", now - finished.seconds, now, "part of copy")
            context.emit(span)
        return self._report(self._explain_refused(self._numbers, refused), 0, finished, completed)

    def send_and_install(self) -> CopyReport:
        """Send the files by what was chosen for each; then verify them and put them in place."""
        failures: dict[int, str] = {}
        spared = 0
        for share in self._shares:
            part = [self._items[n] for n in share.numbers]
            with self._timed(share):
                refused, wire_bytes = _send_share(self._context, share, part, self._meter)
            if wire_bytes is not None:
                spared += max(0, sum(item.size for item in part) - wire_bytes)
            failures |= self._explain_refused([self._numbers[n] for n in share.numbers], refused)
        self._meter.flush()
        script = place.finish_script(
            self._held,
            self._settings.gmac_key,
            modes_set=all(make_transport(share.transport).sets_modes for share in self._shares),
            perl=self._perl,
            tables_in=self._tables_in,
        )
        amount = _amount([h.copy for h in self._held])
        with self._context.timed("verify", amount), _unknown_if_unanswered():
            body, completed = ask(self._context.host, script, _VERIFYING, self._limit_s)
        finished = understood(lambda: place.parse_finished(self._held, body))
        return self._report(failures, spared, finished, completed)

    @contextlib.contextmanager
    def _timed(self, share: Share) -> Iterator[None]:
        amount = f"{_amount([self._items[n] for n in share.numbers])}, by {share.transport}"
        self._context.log(logging.DEBUG, f"{amount}: {share.why}")
        with self._context.timed("copy", amount):
            yield

    def _explain_refused(
        self, numbers: Sequence[int], refused: Mapping[int, str]
    ) -> dict[int, str]:
        """Say what failed, by number in ``held``; ``refused`` goes by place in ``numbers``."""
        copies = {numbers[place]: self._held[numbers[place]].copy for place in refused}
        whys = dict(zip(copies, refused.values(), strict=True))
        return {
            number: f"{copy.source} could not be copied to {copy.destination}: {whys[number]}"
            for number, copy in copies.items()
        }

    def _report(
        self, failures: dict[int, str], spared: int, finished: Finished, completed: Completed
    ) -> CopyReport:
        """``spared``: how many bytes were there already, and did not have to be sent."""
        context, held = self._context, self._held
        lines = completed.stderr[-_READ_BYTES:].decode(errors="replace").splitlines()
        words = [line for line in lines if line.strip()][-_READ_LINES:]
        for number, failure in finished.failures.items():
            why = _explained(context, held[number], failure, words)
            failures.setdefault(number, why)
        if completed.stderr.strip() and not failures:
            said = completed.last_words()
            context.log(
                logging.WARNING, f"all files are in place, but putting them there said: {said}"
            )
        placed = [h for number, h in enumerate(held) if number not in finished.failures]
        sent = sum(h.copy.size for h in placed if h.same_as is None)
        return CopyReport(len(placed), max(0, sent - spared), tuple(failures.values()))


_VERIFYING = "verifying the copies"


@contextlib.contextmanager
def _unknown_if_unanswered() -> Iterator[None]:
    """Say what is not known where the last step may have been taken."""
    try:
        yield
    except (ConnectionLost, Unanswered) as error:
        raise type(error)(f"{error}{UNKNOWN}") from error


def _item(held: Held) -> Item:
    copy = held.copy
    # What is there is where rsync may look for what need not be sent.
    basis = None if copy.replaces is None else Basis(copy.destination, copy.replaces)
    return Item(copy.source, held.path, copy.size, basis, place.sent_mode(copy.mode))


def _amount(files: Sequence[Item] | Sequence[Copy]) -> str:
    return f"{len(files)} files, {sum(file.size for file in files) / 1e6:,.1f} MB"


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


_READ_BYTES, _READ_LINES = 1 << 16, 200
"""Of what was said about failures: each of these is looked for in it."""


def _explained(context: Context, held: Held, failure: InstallFailure, words: Sequence[str]) -> str:
    copy = held.copy
    if failure is InstallFailure.RENAME:
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


def _abandon(context: Context, directories: Sequence[str]) -> None:
    """Remove holding directories of ours; if that can't be done, say where they are."""
    if not directories:
        return
    try:
        ask(context.host, staging.discard_script(directories), "removing it")
    except HostError as error:
        more = f" and {len(directories) - 1} more like it" if len(directories) > 1 else ""
        context.log(
            logging.WARNING,
            f"what was copied so far may be left in {directories[0]}{more} ({error}); "
            "remove it by hand, or leave that to a run of fastrr a day from now",
        )


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
