"""What a user has said about the session that components run in."""

from __future__ import annotations

from posixpath import join
from typing import NamedTuple

from fastrr.components.state import directory_name


class SessionSettings(NamedTuple):
    """Which session, and how its windows are opened. Never holds a secret."""

    name: str = "runner"
    run_id: str = "0"
    """Distinguishes what this run starts from what any other run does."""
    kill_first: bool = True
    """End earlier sessions of this name; otherwise add windows to the one that runs."""
    zombie: bool = True
    """Windows of ended programs stay."""
    start_timeout_s: float = 60.0

    def directory(self, state_directory: str) -> str:
        """Return where the state of the session's components is kept."""
        return join(state_directory, directory_name(self.name))
