"""The state of components on a host: one directory each, ``STATE/SESSION/COMPONENT/``. Pure.

``launch.sh``
    its program, arguments and environment, each quoted; sources the run's ``.run-ID``
``launcher``
    process id of the launcher, which stays to record how the program ends
``pid``
    process id of the program, written by the shell that then becomes the program
``exit``
    its exit status, once it has ended (128 + N where signal N ended it)
``failed``
    why it could not be started
``log``
    what its window showed, written by screen
``session``
    ``pid.name`` of the screen session it runs in
``run``
    the run that started it: a launcher of an earlier run writes nothing here any more

Whoever wants to know how a component is doing reads these, from any controller. What an earlier
run left is kept once, in ``STATE/SESSION/.previous/``. STATE has the host's name in it, because
home directories are often shared between hosts.
"""

from __future__ import annotations

import re
from posixpath import join, normpath
from typing import NamedTuple
from urllib.parse import unquote

from fastrr.hosts.library import library
from fastrr.model import ComponentPlan

LOOK = library(__file__, "state.sh")
"""Shell functions: `look` tells of a component that has failed or ended, `alive` if it runs;
`running` if a process of this id does.

``pause SECONDS N`` counts pauses in ``ticks``: rightly, too, where ``sleep`` takes whole seconds
only and one pause is as long as N (those of a second).
"""


def component_directory(state_directory: str, session: str, component: str) -> str:
    """Return where a component's state is kept on its host."""
    return join(state_directory, directory_name(session), directory_name(component))


def directory_name(name: str) -> str:
    """Return ``name`` as one component of a path, as like itself as can be.

    Percent-encoded (RFC 3986) are slash, control characters, a leading dot, the percent sign, and
    the vertical bar, which screen takes for a separator in titles.
    """
    return re.sub(r"[/|%\x00-\x1f\x7f]|^\.", lambda match: f"%{ord(match[0]):02X}", name)


def name_of(directory: str) -> str:
    """Undo `directory_name`."""
    return unquote(directory, errors="surrogateescape")


class Launch(NamedTuple):
    """A component to start, with everything about its host filled in."""

    component: ComponentPlan
    base_dir: str
    """Absolute."""
    state: str
    """Its state directory, absolute."""

    @property
    def program(self) -> str:
        """Absolute path of the executable."""
        return normpath(join(self.base_dir, self.component.executable))
