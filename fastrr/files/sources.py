"""The digests of local files: each file is read once a run, however many hosts want it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait

from fastrr.errors import UsageError
from fastrr.events import Span
from fastrr.files.digests import Unsteady, digest
from fastrr.files.ledger import LocalEntry, LocalLedger, at_rest
from fastrr.model import Algorithm, SourceFile

BATCH_BYTES = 4 << 20
BATCH_FILES = 256
"""Small files are read by the batch: handing one over to a thread costs more than hashing it."""

FORESEE_FROM_BYTES = 4 << 20
"""From here hashing takes long enough to begin with it before it is clear that it must be done."""

_Outcome = dict[str, str | OSError]
"""By path: the digest, or why there is none."""


class LocalFiles:
    """Hashes files in threads (which let go of the GIL for it), or knows their digests already.

    Used by one thread.
    """

    def __init__(
        self, sources: Mapping[str, SourceFile], gmac_key: bytes, ledger: LocalLedger
    ) -> None:
        self._sources = sources
        self._gmac_key = gmac_key
        self._ledger = ledger
        self._threads = ThreadPoolExecutor(max_workers=os.cpu_count() or 1)
        self._abandon = threading.Event()
        self._known: dict[tuple[Algorithm, str], str | OSError] = {}
        self._pending: dict[tuple[Algorithm, str], Future[_Outcome]] = {}
        self._learned: list[LocalEntry] = []
        self._spans: list[Span] = []

    def want(self, algorithm: Algorithm, paths: Iterable[str]) -> None:
        """Begin to hash those of ``paths`` that are not known or under way."""
        new = [
            path
            for path in paths
            if (algorithm, path) not in self._known and (algorithm, path) not in self._pending
        ]
        if algorithm is Algorithm.SHA1:
            for path, sha1 in self._ledger.look_up([self._sources[path] for path in new]).items():
                self._known[algorithm, path] = sha1
            new = [path for path in new if (algorithm, path) not in self._known]
        for batch in self._batches(new):
            future = self._threads.submit(self._hash, algorithm, batch)
            self._pending.update(dict.fromkeys(((algorithm, path) for path in batch), future))

    def foresee(self) -> None:
        """Begin to hash large files that have changed since they were hashed in an earlier run.

        Most likely there is something to compare them with.
        """
        large = [source for source in self._sources.values() if source.size >= FORESEE_FROM_BYTES]
        self.want(Algorithm.SHA1, self._ledger.changed(large))

    def collect(
        self, algorithm: Algorithm, paths: Iterable[str], while_waiting: Callable[[], None]
    ) -> dict[str, str]:
        """Return the digest of each of ``paths``, once all are known.

        ``while_waiting`` is called now and then, and may raise to stop waiting.

        :raises UsageError: when files can't be read any more, naming them all.
        """
        wanted = list(paths)
        self.want(algorithm, wanted)
        under_way = {f for path in wanted if (f := self._pending.get((algorithm, path)))}
        while under_way:
            done, under_way = wait(under_way, timeout=0.1)
            for future in done:
                self._take(algorithm, future.result())
            while_waiting()
        digests: dict[str, str] = {}
        unreadable: list[str] = []
        for path in wanted:
            known = self._known[algorithm, path]
            if isinstance(known, OSError):
                unreadable.append(f"{path} can't be read: {known.strerror or known}")
            else:
                digests[path] = known
        if unreadable:
            raise UsageError("\n".join(unreadable))
        return digests

    def spans(self) -> list[Span]:
        """Return what hashing took since this was asked last."""
        spans, self._spans = self._spans, []
        return spans

    def close(self) -> None:
        """Stop hashing, and let the ledger keep what was learned."""
        self._abandon.set()
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._ledger.store(self._learned)

    def _take(self, algorithm: Algorithm, outcome: _Outcome) -> None:
        for path, known in outcome.items():
            self._known[algorithm, path] = known
            self._pending.pop((algorithm, path), None)

    def _batches(self, paths: Iterable[str]) -> Iterator[list[str]]:
        batch: list[str] = []
        size = 0
        for path in paths:
            batch.append(path)
            size += self._sources[path].size
            if size >= BATCH_BYTES or len(batch) >= BATCH_FILES:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch

    def _hash(self, algorithm: Algorithm, paths: list[str]) -> _Outcome:
        outcome: _Outcome = {}
        began = time.monotonic()
        for path in paths:
            clock_ns = time.time_ns()
            try:
                value, signature = digest(path, algorithm, self._gmac_key, self._abandon)
            except OSError as error:
                outcome[path] = error
            except Unsteady:
                outcome[path] = OSError(None, "it changes while it is being read")
            else:
                outcome[path] = value
                if algorithm is Algorithm.SHA1 and at_rest(signature, clock_ns):
                    self._learned.append(LocalEntry(path, signature, value))
        size = sum(self._sources[path].size for path in paths)
        detail = f"{algorithm.value} of {len(paths)} files, {size / 1e6:,.1f} MB"
        self._spans.append(Span("", "hash", began, time.monotonic(), detail))
        return outcome
