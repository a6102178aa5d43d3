"""RevokedHostKeys of ssh_config(5): files with keys that no host may show.

Such a file is a list of public keys, one on each line, or a key revocation list in OpenSSH's own
format, which ``ssh-keygen`` reads for us. Whatever keeps a file from being read means that no host
can be trusted; so it is with ssh.
"""

from __future__ import annotations

import base64
import binascii
import os
import shutil
import subprocess
import tempfile
from collections.abc import Collection, Iterable

from fastrr.errors import LoginRefused
from fastrr.hosts.ssh.certificates import Shown, kind_of

KRL_MAGIC = b"SSHKRL\n\0"
"""PROTOCOL.krl of OpenSSH."""

KEYGEN_TIMEOUT_S = 30.0


def refuse(files: Iterable[str], shown: Shown, fingerprint: str) -> None:
    """Refuse a host whose key, certificate or authority is in one of ``files``.

    ``fingerprint``: of its key, for messages.

    :raises LoginRefused: for what is revoked, and where that can't be found out.
    """
    for path in files:
        try:
            with open(path, "rb") as file:
                content = file.read()
        except OSError as error:
            raise _unknown(path, f"it can't be read ({error.strerror or error})") from error
        if content.startswith(KRL_MAGIC):
            # Of a certificate, ssh-keygen looks at the key and at who has signed it, too.
            revoked = _in_krl(path, shown.certificate or shown.key)
        else:
            revoked = _in_list(path, content, (shown.key, shown.authority))
        if revoked:
            what = "it, its certificate, or who has signed that" if shown.certificate else "it"
            raise LoginRefused(
                f"the host key {fingerprint} is revoked: {what} is in {path}, which "
                "RevokedHostKeys in ssh's configuration names; give the host a new key"
                f"{' and certificate' if shown.certificate else ''}"
            )


def _unknown(path: str, reason: str) -> LoginRefused:
    return LoginRefused(
        f"whether the host key is revoked can't be found out from {path}, which RevokedHostKeys in "
        f"ssh's configuration names: {reason}; no host is trusted until that is mended"
    )


def _in_list(path: str, content: bytes, keys: Collection[bytes]) -> bool:
    found = False
    for number, line in enumerate(content.split(b"\n"), 1):
        fields = line.split()
        if not fields or fields[0].startswith(b"#"):
            continue
        listed = _public_key(fields)
        if listed is None:
            raise _unknown(path, f"line {number} is not a public key (type and Base64)")
        if b"-cert-v01@" in fields[0]:
            raise _unknown(path, f"line {number} is a certificate: put the key itself there")
        found |= listed in keys
    return found


def _public_key(fields: list[bytes]) -> bytes | None:
    """Return the key of ``ssh-ed25519 AAAA... comment``; None: it is none."""
    try:
        blob = base64.b64decode(fields[1], validate=True)
    except (IndexError, binascii.Error):
        return None
    # A key begins with its type (RFC 4253, section 6.6).
    kind = len(fields[0]).to_bytes(4, "big") + fields[0]
    return blob if blob.startswith(kind) else None


def _in_krl(path: str, key: bytes) -> bool:
    if (keygen := shutil.which("ssh-keygen")) is None:
        raise _unknown(path, "it is a KRL, and there is no ssh-keygen on this machine to ask")
    try:
        with tempfile.NamedTemporaryFile("w", prefix="fastrr-", suffix=".pub") as file:
            file.write(f"{kind_of(key)} {base64.b64encode(key).decode()}\n")
            file.flush()
            completed = subprocess.run(
                [keygen, "-Q", "-f", path, file.name],
                env={**os.environ, "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=KEYGEN_TIMEOUT_S,
                check=False,
            )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _unknown(path, f"ssh-keygen can't be asked ({error})") from error
    if completed.returncode == 0:
        return False
    if completed.stdout.rstrip().endswith("REVOKED"):
        return True
    said = " ".join(f"{completed.stdout} {completed.stderr}".split())
    raise _unknown(path, f"ssh-keygen exited {completed.returncode}: {said or 'no reason given'}")
