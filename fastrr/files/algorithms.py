"""What digests a host can compute, and which of them verifies a copy. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from fastrr.hosts.facts import HostFacts, Sections
from fastrr.hosts.library import library
from fastrr.hosts.shell import fits_a_line, join
from fastrr.model import Algorithm, Copy, FileTarget, SourceFile

ASK_FOR_OPENSSL_3_FROM_BYTES = 1 << 22
"""Only for large files it matters which openssl it is, and asking costs a process."""

DIGEST = library(__file__, "digest.sh")
"""Shell functions that compute digests."""


class Hashers(NamedTuple):
    """What digests can be computed by, where it was asked."""

    openssl: str = ""
    """What ``openssl version`` says."""
    xxhsum: str = ""
    """What ``xxhsum --version`` says."""


class AskHashers(NamedTuple):
    """The part that asks what digests can be computed by."""

    tools: tuple[str, ...]

    @classmethod
    def of(cls, wanted: Sequence[FileTarget], sources: Mapping[str, SourceFile]) -> AskHashers:
        """Return what has to be asked where these files may have to be verified."""
        large = any(sources[t.source].size >= ASK_FOR_OPENSSL_3_FROM_BYTES for t in wanted)
        asked = (("openssl",) if large else ()) + (("xxhsum",) if wanted else ())
        return cls(asked)

    @property
    def text(self) -> str:
        return f"{DIGEST}hashers {join(self.tools)}\n"

    def parse(self, sections: Sections, _facts: HostFacts) -> Hashers:
        told = dict.fromkeys(("openssl", "xxhsum"), "")
        for line in sections["hashers"]:
            tool, _, version = line.partition(" ")
            if tool in told:
                told[tool] = version[:_VERSION_CHARS]
        return Hashers(**told)


_VERSION_CHARS = 200
"""No version is longer; what looks for it in there need not bother with more."""


GMAC_FROM_BYTES = 1 << 22
"""From here a process for one file pays: openssl's GMAC is 4 times as fast as its SHA-1."""


XXH128_SINCE = (0, 8)
"""Earlier versions of ``xxhsum`` compute another digest by that name (Ubuntu 20.04 has 0.7.3)."""


def supported_algorithms(hashers: Hashers) -> frozenset[Algorithm]:
    """Return the algorithms that copies to a host can be verified by."""
    able = {Algorithm.SHA1}
    if (version := re.search(r"(\d+)\.(\d+)", hashers.xxhsum)) and (
        (int(version[1]), int(version[2])) >= XXH128_SINCE
    ):
        able.add(Algorithm.XXH128)
    if hashers.openssl.startswith("OpenSSL 3"):
        able.add(Algorithm.GMAC)
    return frozenset(able)


def algorithm(copy: Copy, able: frozenset[Algorithm]) -> Algorithm:
    """Return the fastest algorithm for verifying ``copy``, of those a host is able to."""
    if not fits_a_line(copy.destination):
        return Algorithm.SHA1  # the slow way knows no other
    if Algorithm.XXH128 in able:
        return Algorithm.XXH128
    if Algorithm.GMAC in able and copy.size >= GMAC_FROM_BYTES:
        return Algorithm.GMAC
    return Algorithm.SHA1
