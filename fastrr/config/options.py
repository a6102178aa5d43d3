"""The command line as a value: what the run, the config file and the muddlers see."""

from __future__ import annotations

import argparse


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
