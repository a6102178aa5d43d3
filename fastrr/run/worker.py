"""What runs in a worker process: requests in, events and replies out, a thread for each host."""

from __future__ import annotations

import logging
import os
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection

from fastrr.errors import HostError, Interrupted
from fastrr.events import Event, Logged
from fastrr.hosts import make_host
from fastrr.hosts.budget import Room
from fastrr.hosts.context import Context, Request
from fastrr.model import Deployment, Failure, SshSettings
from fastrr.run.pool import Cancel, Reply, Stop


class _Forward(logging.Handler):
    """Sends log records of a worker to the coordinator, which owns the terminal."""

    def __init__(self, emit: Callable[[Event], None]) -> None:
        super().__init__()
        self._emit_event = emit

    def emit(self, record: logging.LogRecord) -> None:
        self._emit_event(Logged(record.levelno, record.getMessage()))


def worker_main(
    deployment: Deployment, ssh: SshSettings, connect_timeout_s: float
) -> Callable[[Connection, Sequence[str]], None]:
    """Return what a worker of this deployment runs; see `pool.WorkerMain`."""

    def main(pipe: Connection, hosts: Sequence[str]) -> None:
        writing = threading.Lock()

        def tell(message: object) -> None:
            with writing:
                pipe.send(message)

        logging.getLogger().handlers[:] = [_Forward(tell)]
        room = Room()
        contexts = {
            plan.host: Context(
                make_host(plan.host, ssh, connect_timeout_s),
                plan,
                deployment.sources,
                tell,
                number,
                room,
            )
            for number, plan in enumerate(deployment.hosts)
            if plan.host in hosts
        }
        _serve(pipe, contexts, tell)

    return main


def _serve(
    pipe: Connection, contexts: Mapping[str, Context], tell: Callable[[object], None]
) -> None:
    waiting_only: set[str] = set()
    with ThreadPoolExecutor(max_workers=max(1, len(contexts))) as threads:
        while True:
            try:
                message = pipe.recv()
            except (EOFError, OSError):
                os._exit(1)  # the coordinator is gone; nobody is left to clean up for
            if isinstance(message, Stop):
                break
            if isinstance(message, Cancel):
                for host, context in contexts.items():
                    context.cancel(cut=host in waiting_only)
                continue
            requests = message.requests
            waiting_only = {h for h, r in requests.items() if r.only_waits}
            for host, request in requests.items():
                threads.submit(_answer, contexts[host], request, message.call, tell)
        for context in contexts.values():
            context.host.close()


def _answer(
    context: Context, request: Request[object], call: int, tell: Callable[[object], None]
) -> None:
    host = context.plan.host
    value: object
    try:
        value = request.handle(context)
    except Interrupted as error:
        value = Failure(host, (str(error),), interrupted=True)
    except HostError as error:
        value = Failure(host, (str(error),), interrupted=context.cancelled.is_set())
    except Exception as error:  # noqa: BLE001 (a host's thread must answer, whatever happens)
        value = _unexpected(host, error)
    try:
        tell(Reply(host, value, call))
    except OSError:
        pass  # the coordinator is gone
    except Exception as error:  # noqa: BLE001 (what can't be pickled must not be no answer)
        tell(Reply(host, _unexpected(host, error), call))


def _unexpected(host: str, error: Exception) -> Failure:
    return Failure(
        host,
        (f"unexpected {type(error).__name__}: {error} (please report it; -l DEBUG says more)",),
        "".join(traceback.format_exception(error)),
    )
