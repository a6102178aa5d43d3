"""Digests of local files. The only importer of xxhash and cryptography.

- SHA-1 (`hashlib`) is what the manual names: it compares files, and is remembered across runs.
- XXH128 (xxhash) verifies a copy where the host has ``xxhsum``: it guards against accidents.
- GMAC-AES-128 (cryptography) verifies a large copy where the host has OpenSSL 3: at 4 times the
  speed of SHA-1, and keyed, fresh for each run, it guards against design, too.
"""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from collections.abc import Callable

from fastrr.model import Algorithm, Signature

_CHUNK_BYTES = 1 << 20


class Abandoned(Exception):
    """Hashing was given up because the run has ended."""


class Unsteady(Exception):
    """The file changed while it was being read."""


def digest(
    path: str, algorithm: Algorithm, gmac_key: bytes, abandon: threading.Event | None = None
) -> tuple[str, Signature]:
    """Return the digest of a file's content, in lower-case hex, and the signature it had then.

    :raises OSError: when it can't be read.
    :raises Unsteady: when its signature is another before and after.
    :raises Abandoned: when ``abandon`` is set meanwhile.
    """
    update, finish = _start(algorithm, gmac_key)
    with open(path, "rb", buffering=0) as file:
        before = os.fstat(file.fileno())
        if not stat.S_ISREG(before.st_mode):
            raise OSError(None, "it is no regular file any more")
        buffer = bytearray(min(before.st_size + 1, _CHUNK_BYTES))
        view = memoryview(buffer)
        while count := file.readinto(buffer):  # to the end: some file systems read less than asked
            update(view[:count])
            if abandon is not None and abandon.is_set():
                raise Abandoned(path)
        signature = Signature.of(os.fstat(file.fileno()))
    if signature != Signature.of(before):
        raise Unsteady(path)
    return finish(), signature


def _start(
    algorithm: Algorithm, gmac_key: bytes
) -> tuple[Callable[[memoryview], object], Callable[[], str]]:
    if algorithm is Algorithm.SHA1:
        sha1 = hashlib.sha1(usedforsecurity=False)
        return sha1.update, sha1.hexdigest
    if algorithm is Algorithm.XXH128:
        import xxhash

        xxh128 = xxhash.xxh128()
        return xxh128.update, xxh128.hexdigest
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    gmac = Cipher(algorithms.AES(gmac_key), modes.GCM(bytes(12))).encryptor()

    def finish() -> str:
        gmac.finalize()
        return gmac.tag.hex()

    return gmac.authenticate_additional_data, finish
