"""What is called plain in `fastrr.hosts.shell` is what every login shell takes as it is."""

from __future__ import annotations

import string

from fastrr.hosts.base import Host
from fastrr.hosts.shell import is_plain

PLACES = ("?", "a?b", "?a", "a?", "??", "a?/b", "/?", "/a?")
WORDS = (
    *("-n", "/{a,b}", "/{1..2}", "/~", "~root", "/srv/.fastrr-0123456789ab-0"),
    *(place.replace("?", character) for character in string.printable for place in PLACES),
)


def test_plain_words_reach_a_program_as_they_are(any_host: Host) -> None:
    """Commands of transports are for the login shell, which may be csh or fish."""
    plain = [word for word in WORDS if is_plain(word)]
    completed = any_host.stream(f"env printf %s: {' '.join(plain)}", lambda _: None)
    assert completed.stdout.decode() == "".join(f"{word}:" for word in plain)
    assert completed.status == 0
