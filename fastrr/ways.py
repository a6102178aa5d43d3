"""The ways to what a run writes: whether somebody else on the host could lead it elsewhere. Pure.

Who may write to a directory may put something else in the place of what is in it. So a directory
that everybody may write to is refused (*shared*), unless it is sticky, as /tmp is: there, what
belongs to us or to root is safe, and what belongs to others, a link or a directory, is neither
followed nor written into.
"""

from __future__ import annotations

OWN = r"""
own() {
    # What is at an absolute path is ours or root's, or in no sticky directory.
    [ -k "${1%/*}/" ] || return 0
    [ -O "$1" ] && [ ! -L "$1" ] && return
    set -- $(LC_ALL=C ls -ldn -- "$1" 2>/dev/null)
    [ "${3:-}" = 0 ] || [ "${3:-}" = "$(id -u)" ]
}
"""
"""A shell function for the moment after the check: it costs no process where nothing is amiss."""
