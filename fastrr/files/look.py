"""Looking at a host, with the ledger's help: what it remembers need not be computed there."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from fastrr.errors import CommandFailed
from fastrr.files import compare, probe
from fastrr.files.ledger import TRUSTED_FILE_SYSTEMS, Ledger, Listing, RemoteEntry, at_rest
from fastrr.files.probe import Answer, Question
from fastrr.files.settings import FileSettings
from fastrr.hosts import ways
from fastrr.hosts.base import ANSWER_WITHIN_S, SLOWEST_READ_BYTES_S, ask, understood
from fastrr.hosts.context import Context
from fastrr.hosts.facts import Aspect
from fastrr.hosts.shell import absolute, parent
from fastrr.hosts.ways import Places, Walker
from fastrr.model import HostPlan


class Seen(NamedTuple):
    """What was seen of a host."""

    answer: Answer
    listing: Listing | None = None
    """Where it has one, all files are known to be as it says: the answer has none."""
    objections: tuple[str, ...] = ()
    """Where somebody else could lead astray what a run writes; see `fastrr.hosts.ways`."""


Also = Sequence[Aspect[Any]]


def look(
    context: Context, settings: FileSettings, also: Also = (), always_copy: bool = False
) -> Seen:
    """Look at the host: briefly, if the ledger knows all of its files, else at each of them.

    ``also``: what else is asked.

    :raises HostError: when it can't be done.
    """
    ledger = Ledger(settings.ledger)
    if always_copy or settings.rehash or not probe.can_be_listed(context.plan):
        return look_at_each(context, settings, also, always_copy, ledger)
    if listing := ledger.listing(context.host.identity, probe.listing_key(context.plan)):
        answer = _ask(context, probe.listing_question(context.plan, context.sources, also), 0)
        if (answer.found.listing, answer.facts.machine) == (listing.digest, listing.machine):
            return Seen(answer, listing, _objections(context, settings, also, answer))
    return look_at_each(context, settings, also, always_copy, ledger)


def look_at_each(
    context: Context,
    settings: FileSettings,
    also: Also = (),
    always_copy: bool = False,
    ledger: Ledger | None = None,
) -> Seen:
    """Look at all files; of those that the ledger knows, remember what it knows.

    :raises HostError: when it can't be done.
    :raises Interrupted: when the run was cancelled.
    """
    with context.room.for_files(len(context.plan.files), context.cancelled):
        ledger = ledger or Ledger(settings.ledger)
        return _look_at_each(context, settings, also, always_copy, ledger)


def _look_at_each(
    context: Context, settings: FileSettings, also: Also, always_copy: bool, ledger: Ledger
) -> Seen:
    identity, plan = context.host.identity, context.plan
    known: dict[str, RemoteEntry] = {}
    if plan.files and not (always_copy or settings.rehash):
        known = ledger.remote(identity, (target.destination for target in plan.files))
    answer = _probe(context, also, always_copy, known)
    objections = _objections(context, settings, also, answer)
    if any(entry.machine != answer.facts.machine for entry in known.values()):
        known = {}
        ledger.forget_remote(identity)  # also what this plan does not mention
        answer = _probe(context, also, always_copy, known)
    learned = _worth_keeping(plan, answer)
    if not objections:  # else what somebody else may change at any time would count as known
        ledger.store_remote(identity, learned)
    seen = remembered(plan, answer, known)
    recalled = (  # those that the ledger knows now
        there.digest is not None
        and (target.destination in learned or (there is not found and found.digest is None))
        for target, found, there in zip(plan.files, answer.files, seen.files, strict=True)
    )
    if answer.found.listing and all(recalled) and not objections:
        contents = compare.contents(there.digest or "" for there in seen.files)
        listing = Listing(answer.found.listing, contents, answer.facts.machine)
        ledger.store_listing(identity, probe.listing_key(plan), listing)
    return Seen(seen, objections=objections)


def _objections(
    context: Context, settings: FileSettings, also: Also, answer: Answer
) -> tuple[str, ...]:
    """Go all the ways to what the run will write, and say where that is not safe.

    What turns out to be needed for that is asked then: where links lead, who files belong to that
    are where everybody may write.
    """
    facts, plan = answer.facts, context.plan
    places: Places = answer.storage.places
    for _ in range(_ROUNDS):
        walker = Walker(places, int(facts.uid), settings.allow_shared)
        open_ = {path for path in _targets(answer) if walker.is_open(walker.go(path))}
        for path in _written_besides(plan, also, answer):
            walker.go(path)
        for path in _destinations(plan, answer, open_):
            walker.go(path)
        if not (walker.unknown or walker.unread):
            return tuple(walker.objections)
        asked = tuple(walker.unknown), tuple(walker.unread)
        body, _ = ask(context.host, ways.places_script(*asked), "looking at the ways to files")
        places = understood(lambda: ways.parse_asked(*asked, places, body))  # noqa: B023
    raise CommandFailed("there is no end of links on the ways to its files")


_ROUNDS = 100
"""Of questions: each is about all that is known to be needed, and links are followed at once."""


def _targets(answer: Answer) -> Iterator[str]:
    """Return the directories that files go to, as absolute paths."""
    return (absolute(path, answer.facts.home) for path in answer.storage.directories)


def _written_besides(plan: HostPlan, also: Also, answer: Answer) -> Iterator[str]:
    """Return the other directories that a run writes to."""
    facts = answer.facts
    # The temporary directory, whatever is wanted: bash opens the file that it writes a
    # here-document to once more, by its name there (redir.c).
    paths = [facts.temporary_directory]
    for aspect, told in zip(also, answer.also, strict=True):
        paths += aspect.writes(plan, facts, told)
    return (absolute(path, facts.home) for path in paths if path)


def _destinations(plan: HostPlan, answer: Answer, open_: Collection[str]) -> Iterator[str]:
    """Return where files go that are links, or in directories that everybody may write to."""
    home = answer.facts.home
    for target, there in zip(plan.files, answer.files, strict=True) if answer.files else ():
        if there.link_to is not None:
            yield absolute(target.destination, home)
    for target in plan.files if open_ else ():
        if parent(path := absolute(target.destination, home)) in open_:
            yield path


def _probe(
    context: Context, also: Also, always_copy: bool, known: Mapping[str, RemoteEntry]
) -> Answer:
    signatures = {path: entry.signature for path, entry in known.items()}
    question = probe.probe_question(
        context.plan, context.sources, not always_copy, signatures, also
    )
    bytes_to_hash = sum(context.sources[target.source].size for target in context.plan.files)
    answer = _ask(context, question, bytes_to_hash)
    if answer.found.unfollowed:
        script = probe.follow_script(context.plan, context.sources, answer.found.unfollowed)
        body, _ = ask(context.host, script, "following symbolic links")
        answer = understood(lambda: probe.parse_followed(answer, body))
    return answer


def _ask(context: Context, question: Question, bytes_to_hash: int) -> Answer:
    limit_s = ANSWER_WITHIN_S + bytes_to_hash / SLOWEST_READ_BYTES_S
    body, _ = ask(context.host, question.script, "looking at the host", limit_s)
    return understood(lambda: question.parse(body))


def _worth_keeping(plan: HostPlan, answer: Answer) -> dict[str, RemoteEntry]:
    """The digests that were computed there just now, as far as the ledger's rules allow."""
    facts = answer.facts
    return {
        target.destination: RemoteEntry(there.signature, there.digest, facts.machine)
        for target, there in zip(plan.files, answer.files, strict=True)
        if there.digest
        and there.signature
        and there.link_to is None
        and at_rest(there.signature, answer.found.clock_ns)
        and answer.storage.file_system_of(parent(target.destination)) in TRUSTED_FILE_SYSTEMS
    }


def remembered(plan: HostPlan, answer: Answer, known: Mapping[str, RemoteEntry]) -> Answer:
    """Fill in the digests that were not computed because the ledger has them."""
    if not known:
        return answer
    files = [
        there._replace(digest=entry.sha1)
        if there.digest is None
        and there.link_to is None
        and (entry := known.get(target.destination))
        and entry.signature == there.signature
        else there
        for target, there in zip(plan.files, answer.files, strict=True)
    ]
    return answer._replace(found=answer.found._replace(files=tuple(files)))
