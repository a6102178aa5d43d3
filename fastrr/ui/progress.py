"""What a person sees while a run is under way. The only importer of tqdm."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from typing import TYPE_CHECKING, NoReturn

from fastrr.events import (
    Advanced,
    ComponentEnded,
    Event,
    Logged,
    Sent,
    Span,
    StepBegan,
    StepEnded,
)
from fastrr.text import message

if TYPE_CHECKING:
    import tqdm

logger = logging.getLogger("fastrr")

TELL_EVERY_S = 5.0


class PlainDisplay:
    """Shows events as log lines: one for each step, and one now and then in long ones."""

    def __init__(self) -> None:
        self._step = StepBegan("", 0, "")
        self._done = 0
        self._began = self._told_at = 0.0

    def show(self, event: Event) -> None:
        """Show one event; the only thing a run needs of a display."""
        match event:
            case StepBegan():
                self._begin(event)
            case Advanced(count) | Sent(_, count):
                self._advance(count)
            case ComponentEnded():
                self._advance(event.waited)
            case StepEnded():
                self._end()
            case Span(host, activity):
                where = f"{host}: " if host else ""
                logger.debug("%s%s took %.3f s", where, activity, event.seconds)
            case Logged(level, words):
                logger.log(level, "%s", words)

    def close(self) -> None:
        """Leave the terminal as it should be for what comes next."""

    def _begin(self, step: StepBegan) -> None:
        self._step, self._done = step, 0
        self._began = self._told_at = time.monotonic()

    def _advance(self, count: int) -> None:
        self._done += count
        self._show_progress(count)

    def _show_progress(self, _count: int) -> None:
        now = time.monotonic()
        if now - self._told_at >= TELL_EVERY_S:
            self._told_at = now
            percent = 100 * self._done / (self._step.total or 1)
            logger.info("%s: %s (%.0f %%)", self._step.name, self._amounts(), percent)

    def _end(self) -> None:
        seconds = time.monotonic() - self._began
        logger.info("%s: %s in %.2f s", self._step.name, self._amounts(), seconds)

    def _amounts(self) -> str:
        """What has been done, of how much if that is not all."""
        total = self._amount(self._step.total)
        if self._done >= self._step.total:
            return total
        return f"{self._amount(self._done)} of {total}"

    def _amount(self, count: int) -> str:
        return size(count) if self._step.unit == "B" else f"{count} {self._step.unit}"


class TerminalDisplay(PlainDisplay):
    """Shows a bar for each step, with log lines above it."""

    def __init__(self) -> None:
        super().__init__()
        import tqdm

        tqdm.tqdm.monitor_interval = 0  # its monitor is a thread, and workers are forked
        self._tqdm = tqdm.tqdm
        self._bar: tqdm.tqdm[NoReturn] | None = None

    def write(self, line: str) -> None:
        """Print a line above the bar."""
        self._tqdm.write(line, file=sys.stderr)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _begin(self, step: StepBegan) -> None:
        super()._begin(step)
        self.close()
        if step.total:
            in_bytes = step.unit == "B"
            self._bar = self._tqdm(
                total=step.total,
                desc=f"{step.name:<9}",
                unit="B" if in_bytes else f" {step.unit}",
                unit_scale=in_bytes,
                file=sys.stderr,
                dynamic_ncols=True,
                leave=False,
            )

    def _show_progress(self, count: int) -> None:
        if self._bar is not None:
            self._bar.update(count)

    def _end(self) -> None:
        self.close()
        super()._end()


class LogHandler(logging.Handler):
    """Writes log lines to standard error, above the bar where there is one.

    Whatever they hold from outside, the terminal shows it, and does not obey it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.display: TerminalDisplay | None = None
        self.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        if sys.stderr is None:  # it was closed before Python began
            return
        line = message(self.format(record))
        # A run is not to fail because nobody reads what it says, or because a name is not UTF-8.
        with contextlib.suppress(OSError, ValueError):
            encoding = sys.stderr.encoding or "ascii"
            line = line.encode(encoding, "backslashreplace").decode(encoding)
            if self.display is not None:
                self.display.write(line)
            else:
                print(line, file=sys.stderr, flush=True)


def size(count: int) -> str:
    """Return a byte count as people read it: decimal units, three digits."""
    if count < 1000:
        return f"{count} B"
    amount = count / 1000
    for unit in ("kB", "MB", "GB"):
        # Judged as printed: 999 999 bytes are 1 MB, not 1e+03 kB.
        if float(f"{amount:.3g}") < 1000:
            return f"{amount:.3g} {unit}"
        amount /= 1000
    return f"{amount:.3g} TB"
