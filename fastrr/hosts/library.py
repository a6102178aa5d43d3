"""Shell code of ours, which stands in files of its own beside the module that uses it.

A file holds functions and nothing else: no call, no hole to be filled in. A script is made of such
files, followed by assignments, calls and here-documents, every word of them quoted.
"""

from __future__ import annotations

import os


def library(module: str, name: str) -> str:
    """Return the functions in the file ``name`` beside a ``module`` (its ``__file__``).

    Lines that are comments are left out: they would only be sent.

    :raises OSError: when fastrr is not installed whole.
    """
    path = os.path.join(os.path.dirname(module), name)
    with open(path, encoding="utf-8") as file:
        return "".join(line for line in file if not line.lstrip().startswith("#"))
