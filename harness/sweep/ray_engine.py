"""The batches of a sweep on a Ray cluster: a worker on every card, work given to whoever is free."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...core.errors import BadValue, ConcordError, Missing
from .engine import Engine, Refuse
from .order import Loaded
from .queue import JobQueue
from .setup import Setup
from .worker import Job, Made, Worker, failed

MOST_LOSSES = 3
"""How many workers a batch may cost before it counts as failed."""


def ray_engine(address: str) -> Engine:
    """Return the engine that runs batches on the cluster at ``address``.

    ``auto``: the cluster that this machine is part of, else one of this machine alone.  Raises ``Missing`` without
    Ray and, once it runs, ``BadValue`` for a cluster that is not there.
    """
    ray = _ray()

    def run(
        jobs: Sequence[Job], setup: Setup, threads: int, refuse: Refuse
    ) -> Iterator[tuple[Job, list[Made]]]:
        if not jobs:
            return
        own = _connected(ray, address)
        crew = _Crew(ray, _hands(ray, setup, threads), JobQueue(jobs), refuse)
        try:
            yield from crew.work(len(jobs))
        finally:
            crew.dismiss()
            if own:
                ray.shutdown()

    return run


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as error:
        raise Missing("--ray needs Ray; pip install 'sd-concord[ray]', or leave --ray out") from error
    return ray


def _connected(ray: Any, address: str) -> bool:
    """Connect to the cluster; tell whether the connection is ours to close.  Raises ``BadValue``."""
    if ray.is_initialized():
        return False
    silent = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": True}
    try:
        ray.init(address=address, **silent)
    except (ConnectionError, ValueError, RuntimeError) as error:
        if address != "auto" or not isinstance(error, ConnectionError):
            raise BadValue(
                f"no Ray cluster answers at {address} ({' '.join(str(error).split())[:200]}); check the address, "
                "or use --ray auto"
            ) from error
        ray.init(address="local", include_dashboard=False, **silent)
    return True


@dataclass(frozen=True, kw_only=True)
class _Hands:
    """How workers are made, and how many the cluster has room for."""

    make: Any
    count: int


def _hands(ray: Any, setup: Setup, threads: int) -> _Hands:
    """Return one worker a card, or where there is none (or the processor is asked for) one for its threads."""
    has = ray.cluster_resources()
    cards = int(has.get("GPU", 0))
    if cards and setup.device != "cpu":
        setup = replace(setup, device="cuda")  # Ray shows each worker its own card alone
        options: dict[str, Any] = {"num_gpus": 1}
        count = cards
    else:
        options = {"num_cpus": threads}
        count = int(has.get("CPU", 0)) // threads
    if count < 1:
        raise BadValue(
            f"the Ray cluster has {has.get('CPU', 0):g} processors and a worker takes {threads}; "
            "plan the sweep with fewer --threads"
        )
    actor = ray.remote(Worker).options(max_restarts=0, **options)
    return _Hands(make=lambda: actor.remote(setup, threads), count=count)


@dataclass(eq=False)
class _Hand:
    """A worker, what it holds, and the batch that it is at; none while it is being started."""

    actor: Any
    holds: Loaded | None = None
    job: Job | None = None


class _Crew:
    """The workers of a sweep: those that start, those at work, and those that are idle."""

    def __init__(self, ray: Any, hands: _Hands, queue: JobQueue, refuse: Refuse) -> None:
        self._ray, self._new, self._queue, self._refuse = ray, hands.make, queue, refuse
        self._hands = [_Hand(self._new()) for _ in range(min(hands.count, len(queue)))]
        self._busy: dict[Any, _Hand] = {hand.actor.ready.remote(): hand for hand in self._hands}
        self._idle: list[_Hand] = []
        self._losses: Counter[int] = Counter()
        self._in_vain = 0

    def work(self, count: int) -> Iterator[tuple[Job, list[Made]]]:
        """Yield what became of ``count`` batches, as they are done.

        Only a worker that has started gets a batch, so that none waits for a card that is not there.
        """
        while count:
            for job, made in self._next():
                count -= 1
                yield job, made

    def _next(self) -> list[tuple[Job, list[Made]]]:
        """Wait for a worker, give it the next batch, and return what became of its last."""
        [ref], _ = self._ray.wait(list(self._busy), num_returns=1)
        hand = self._busy.pop(ref)
        job, hand.job = hand.job, None
        done: list[tuple[Job, list[Made]]] = []
        try:
            made = self._ray.get(ref)
        except self._ray.exceptions.RayTaskError as error:
            if job is not None:
                done.append((job, failed(job, f"the worker said: {_line(error)}")))
        except self._ray.exceptions.RayError as error:
            return self._lost(hand, job, error)
        else:
            if job is not None:
                self._in_vain = 0
                done.append((job, made))
        return done + self._set_to_work(hand)

    def _lost(self, hand: _Hand, job: Job | None, error: Exception) -> list[tuple[Job, list[Made]]]:
        """Give the batch of a lost worker to the others, and start one in its place.

        Raises ``BadValue`` when workers die one after another and none gets anything done.
        """
        self._in_vain += 1
        if self._in_vain > MOST_LOSSES * (len(self._hands) + 1):
            raise BadValue(f"Ray's workers die at once: {_line(error)}; see Ray's logs, then use --resume")
        hand.actor, hand.holds = self._new(), None
        self._busy[hand.actor.ready.remote()] = hand
        if job is None:
            return []
        self._losses[job.number] += 1
        if self._losses[job.number] >= MOST_LOSSES:
            return [(job, failed(job, f"{MOST_LOSSES} workers were lost with it: {_line(error)}"))]
        self._queue.give_back(job)
        return self._set_to_work(self._idle.pop()) if self._idle else []

    def _set_to_work(self, hand: _Hand) -> list[tuple[Job, list[Made]]]:
        """Give ``hand`` the next batch that is not refused; return those that are."""
        refused: list[tuple[Job, list[Made]]] = []
        others = [one.holds for one in self._hands if one is not hand and one.holds is not None]
        while (job := self._queue.take(hand.holds, others)) is not None:
            problem = self._refuse(job)
            if problem is None:
                hand.job, hand.holds = job, job.loaded
                self._busy[hand.actor.make.remote(job)] = hand
                return refused
            refused.append((job, failed(job, problem)))
        self._idle.append(hand)
        return refused

    def dismiss(self) -> None:
        """End all workers."""
        for hand in self._hands:
            self._ray.kill(hand.actor)


def _line(error: Exception) -> str:
    cause = error.__cause__ if isinstance(error.__cause__, ConcordError) else error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:200]
