"""From what argparse has parsed to options that a run can begin with."""

from __future__ import annotations

import os
import sys

from fastrr.cli import secret
from fastrr.config.options import Options
from fastrr.errors import UsageError


def complete(options: Options) -> None:
    """Complete what argparse has parsed: absolute paths, the password, checks across options.

    :raises UsageError: when options contradict each other or miss something.
    """
    options.user = options.user or None
    options.config_file = _path(options.config_file)
    options.arg_parser = None if options.arg_parser is None else _path(options.arg_parser)
    muddlers = [_path(muddler) for muddler in options.muddler or ()]
    options.muddler = muddlers if len(muddlers) > 1 else next(iter(muddlers), None)
    options.trace = None if options.trace is None else _path(options.trace)
    for pair in options.extra_pairs:
        if not pair.partition("=")[0].isidentifier() or "=" not in pair:
            raise UsageError(f"-X {pair}: write -X key=value, key being a Python identifier")
    if options.ssh_config not in (None, "none"):
        options.ssh_config = _path(options.ssh_config or "")
        if not os.path.isfile(options.ssh_config):
            raise UsageError(f"--ssh-config: there is no file {options.ssh_config}")
    _take_password(options)


def _take_password(options: Options) -> None:
    from_environment = secret.take_from_environment()
    for known in {options.ssh_pass, from_environment} - {None, ""}:
        secret.hide(str(known))
    if options.ask_pass:
        if options.ssh_pass is not None:
            raise UsageError("--ask-pass and --pass: one of them is enough")
        if not sys.stdin.isatty():
            raise UsageError(
                f"--ask-pass needs a terminal; without one, set {secret.ENVIRONMENT_VARIABLE}"
            )
        import getpass

        options.ssh_pass = getpass.getpass("SSH password or key passphrase: ")
    elif options.ssh_pass is None:
        options.ssh_pass = from_environment or None


def _path(text: str) -> str:
    """An absolute path, with ``~`` and ``$VAR`` expanded as the original does."""
    try:
        return os.path.abspath(os.path.expanduser(os.path.expandvars(text)))
    except FileNotFoundError:
        raise UsageError(
            "the working directory does not exist any more: cd to one that does"
        ) from None
