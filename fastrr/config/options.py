"""The command line as a value: what the run, the config file and the muddlers see."""

from __future__ import annotations

import argparse
import os
import sys

from fastrr.config import secret
from fastrr.errors import UsageError


class Options(argparse.Namespace):
    """All command line options, for configs and muddlers under the original's names too.

    config_file, ssh_user, ssh_pass, log_level, screen, kill_first, always_copy, no_zombie,
    muddler, extra_args and arg_parser are the original's.
    """

    config_file: str
    muddler: str | list[str] | None
    """The path of the only muddler; a list where there are several; None without any."""
    extra_args: str | None
    arg_parser: str | None
    extra_pairs: list[str]
    user: str | None
    ssh_pass: str | None
    ask_pass: bool
    ssh_config: str | None
    host_keys: str
    connect_timeout: float
    screen: str
    kill_first: bool
    no_zombie: bool
    always_copy: bool
    allow_shared: list[str]
    rehash: bool
    transport: str
    copy_only: bool
    keep_going: bool
    timeout: float | None
    jobs: int
    log_level: str
    no_progress: bool
    timings: bool
    trace: str | None

    @property
    def ssh_user(self) -> str:
        """The user who will log in, unless a component's host names another. Never None."""
        if self.user is None:
            from fastrr.hosts.ssh.target import default_user

            self.user_by_default = self.__dict__.get("user_by_default") or default_user(
                self.ssh_config
            )
            return self.user_by_default
        return self.user

    @ssh_user.setter
    def ssh_user(self, user: str) -> None:
        self.user = user

    def __repr__(self) -> str:
        shown = {k: "***" if k == "ssh_pass" and v else v for k, v in vars(self).items()}
        return f"Options({', '.join(f'{key}={value!r}' for key, value in shown.items())})"

    def finish(self) -> None:
        """Complete what argparse has parsed: absolute paths, the password, checks across options.

        :raises UsageError: when options contradict each other or miss something.
        """
        self.user = self.user or None
        self.config_file = _path(self.config_file)
        self.arg_parser = None if self.arg_parser is None else _path(self.arg_parser)
        muddlers = [_path(muddler) for muddler in self.muddler or ()]
        self.muddler = muddlers if len(muddlers) > 1 else next(iter(muddlers), None)
        self.trace = None if self.trace is None else _path(self.trace)
        for pair in self.extra_pairs:
            if not pair.partition("=")[0].isidentifier() or "=" not in pair:
                raise UsageError(f"-X {pair}: write -X key=value, key being a Python identifier")
        if self.ssh_config not in (None, "none"):
            self.ssh_config = _path(self.ssh_config or "")
            if not os.path.isfile(self.ssh_config):
                raise UsageError(f"--ssh-config: there is no file {self.ssh_config}")
        self._take_password()

    def _take_password(self) -> None:
        from_environment = secret.take_from_environment()
        for known in {self.ssh_pass, from_environment} - {None, ""}:
            secret.hide(str(known))
        if self.ask_pass:
            if self.ssh_pass is not None:
                raise UsageError("--ask-pass and --pass: one of them is enough")
            if not sys.stdin.isatty():
                raise UsageError(
                    f"--ask-pass needs a terminal; without one, set {secret.ENVIRONMENT_VARIABLE}"
                )
            import getpass

            self.ssh_pass = getpass.getpass("SSH password or key passphrase: ")
        elif self.ssh_pass is None:
            self.ssh_pass = from_environment or None


def _path(text: str) -> str:
    """An absolute path, with ``~`` and ``$VAR`` expanded as the original does."""
    try:
        return os.path.abspath(os.path.expanduser(os.path.expandvars(text)))
    except FileNotFoundError:
        raise UsageError(
            "the working directory does not exist any more: cd to one that does"
        ) from None
