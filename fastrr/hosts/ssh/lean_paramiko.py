"""Imports paramiko without what fastrr has no use for. Import this before anything of paramiko's.

``import paramiko`` imports invoke, should it be installed (pip installs it with paramiko), for
``Match exec`` in its own parser of ssh_config: 70 of 170 ms. With an ``ssh`` program at hand that
parser is never used, and paramiko does without where invoke can't be imported.
"""

from __future__ import annotations

import shutil
import sys

if "invoke" not in sys.modules and shutil.which("ssh") is not None:
    sys.modules["invoke"] = None  # type: ignore[assignment]  # the import system's own "not there"
    try:
        import paramiko  # noqa: F401
    finally:
        del sys.modules["invoke"]
