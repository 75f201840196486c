"""What runs the batches of a sweep: this process, unless Ray does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from .setup import Setup
from .worker import Job, Made, Worker, failed

Refuse = Callable[[Job], str | None]
"""Told of a batch before it is made; returns why it cannot be, None where it can."""


class Engine(Protocol):
    """Runs jobs and yields what became of them, in the order in which they are done."""

    def __call__(
        self, jobs: Sequence[Job], setup: Setup, threads: int, refuse: Refuse
    ) -> Iterator[tuple[Job, list[Made]]]:
        """Run ``jobs`` with ``threads`` of the processor each."""
        ...


def here(jobs: Sequence[Job], setup: Setup, threads: int, refuse: Refuse) -> Iterator[tuple[Job, list[Made]]]:
    """Run ``jobs`` one after another in this process."""
    worker = Worker(setup, threads)
    for job in jobs:
        problem = refuse(job)
        yield job, failed(job, problem) if problem else worker.make(job)
