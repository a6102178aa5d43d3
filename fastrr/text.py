r"""Text from outside, made fit for a terminal. Pure.

What a host says, what a file is called or what a program printed may hold what a terminal obeys:
escape sequences (ECMA-48) move the cursor, change colours, set titles, and some terminals answer
them; C1 control characters do the same in one character; marks of the bidirectional algorithm
(Unicode UAX #9) have a line read as another one. All these are shown instead, as ``\x1b``.
"""

from __future__ import annotations

from functools import cache
from itertools import chain

LINE_CHARS = 2000
"""As much of one line is shown; what a person looks for is rarely further on."""
ALL_CHARS = 20_000
_OF_LINES = frozenset(b"\n\t")
_BIDIRECTIONAL = (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_LINE_SEPARATORS = (0x2028, 0x2029)
_STRAY_BYTES = range(0xDC80, 0xDD00)
"""How Python decodes bytes that are not UTF-8 (PEP 383)."""


def _visible(code: int) -> str:
    if code in _STRAY_BYTES:
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


@cache
def _table(kept: frozenset[int] = frozenset()) -> dict[int, str]:
    """Return how each character is shown that is not to reach a terminal, but for those kept."""
    codes = chain(
        range(0x20), range(0x7F, 0xA0), _BIDIRECTIONAL, _LINE_SEPARATORS, range(0xD800, 0xE000)
    )
    return {code: _visible(code) for code in codes if code not in kept}


def printable(text: str) -> str:
    """Return ``text`` as one line that a terminal shows, and does not obey."""
    return text if text.isprintable() else text.translate(_table())


def printable_lines(text: str) -> str:
    """Return text of several lines so, tabs as they are."""
    return text if text.isprintable() else text.translate(_table(_OF_LINES))


def message(text: str) -> str:
    """Return a message fit to be shown: `printable_lines`, cut, and further lines indented.

    So a message can't pass for two, nor fill the screen.
    """
    if len(text) > ALL_CHARS:
        half = ALL_CHARS // 2
        text = f"{text[:half]}\n... ({len(text) - 2 * half} characters left out)\n{text[-half:]}"
    first, *others = printable_lines(text).split("\n")
    others = [line if line.startswith("    ") else f"    {line}" for line in others]
    return "\n".join(map(shortened, (first, *others)))


def shortened(text: str, length: int = LINE_CHARS) -> str:
    """Return ``text`` with its middle left out where it is longer than ``length``."""
    if len(text) <= length:
        return text
    half = length // 2
    return f"{text[:half]} ... ({len(text) - 2 * half} characters) ... {text[-half:]}"
