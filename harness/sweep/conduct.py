"""A sweep from its folder: begun, gone on with, and brought to its end."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ...core.errors import BadFile, BadValue, ConcordError
from ...core.gallery.writing import PAGE
from ...core.image import Generation, read_infotext
from ..version import VERSION
from .engine import Engine, here
from .journal import NAME, Journal, Outcome, Row, held
from .order import batches_of_plan, loaded_for
from .output import PICTURES, file_of, no_room, put, settle, sweep_parts, write_cells, write_grids, write_page
from .plan import Plan, cells_of, read_axes
from .progress import Progress
from .records import changes, plain, restored
from .setup import Setup
from .worker import Job, Made


@dataclass(frozen=True, kw_only=True)
class Report:
    """How a sweep stands: ``made`` now, ``done`` in all of ``total``; what failed with why; what there is to say.

    ``warnings``: how many pictures each line is said of.
    """

    folder: Path
    total: int
    done: int
    made: int
    reasons: tuple[str, ...] = ()
    warnings: Mapping[str, int] = field(default_factory=dict[str, int])
    written: tuple[Path, ...] = ()

    @property
    def line(self) -> str:
        """The end of a sweep in one line."""
        said = f"{self.done} of {self.total} pictures are in {self.folder}, {self.made} made now"
        if any(path.name == PAGE for path in self.written):
            said += f"; open {self.folder / PAGE}"
        if not self.reasons:
            return said
        known = Counter(self.reasons).most_common()
        shown = "; ".join(f"{count} x {reason}" for reason, count in known[:3])
        more = f"; and {len(known) - 3} other reasons, in {NAME}" if len(known) > 3 else ""
        return f"{said}; {len(self.reasons)} failed: {shown}{more}; --resume {self.folder} tries them again"


def begin(folder: Path, plan: Plan) -> None:
    """Make the folder and the journal of a new sweep.

    Raises ``BadFile`` where there is one already, or pictures, and where the folder cannot be written.
    """
    try:
        (folder / PICTURES).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadFile(f"cannot write to {folder}: {error.strerror}; name another place with --out") from error
    with held(folder):
        if (folder / NAME).exists():
            raise BadFile(
                f"{folder} has a sweep already; go on with it by --resume {folder}, or name another --out"
            )
        if any((folder / PICTURES).glob("*.png")):
            raise BadFile(
                f"{folder / PICTURES} has pictures of something else; name another place with --out"
            )
        Journal.create(folder, _plain_plan(plan), _rows_of(plan)).close()


def conduct(folder: Path, engine: Engine = here, *, quiet: bool = False) -> Report:
    """Make what the sweep in ``folder`` still lacks, and write its list of cells and its grids.

    What failed before is tried again.  Raises ``BadFile`` where another process works on it, or there is no sweep.
    """
    if not folder.is_dir():
        raise BadFile(f"{folder} is not a folder; name the folder of a sweep")
    with held(folder):
        journal = Journal.open(folder)
        try:
            return _Sweep(folder, journal).run(engine, quiet=quiet)
        finally:
            journal.close()


class _Sweep:
    """A sweep under way in a folder that is held."""

    def __init__(self, folder: Path, journal: Journal) -> None:
        self.folder, self.journal = folder, journal
        self.plan = _restored_plan(journal.plan())
        self.made = 0

    def run(self, engine: Engine, *, quiet: bool) -> Report:
        sweep_parts(self.folder)
        sweep_parts(self.folder / PICTURES)
        jobs = self._jobs()
        waiting = sum(len(job.wanted) for job in jobs)
        total = len(self.journal.rows())
        progress = Progress(total, total - waiting, quiet=quiet)
        try:
            for job, made in engine(jobs, self.plan.setup, self.plan.threads, self._refused):
                outcomes = [self._kept(job, one) for one in made]
                settle(self.folder / PICTURES)
                self.journal.note(outcomes)
                files = [one.file for one in outcomes if one.file]
                self.made += len(files)
                progress.update(len(files), files[-1] if files else None, failed=len(made) - len(files))
        finally:
            progress.close()
        return self._end()

    def _jobs(self) -> list[Job]:
        """Return the batches of which something is to be made, and take in pictures that no entry tells of."""
        rows = self.journal.rows()
        gone = [row.cell for row in rows if row.state == "done" and not self._is_there(row)]
        if gone:
            self.journal.wait_again(gone)
        lacking = {row.cell for row in rows if row.batch is not None and row.state != "done"} | set(gone)
        records = {row.cell: _record(self.plan.base, row) for row in rows if row.batch is not None}
        found = [
            outcome
            for cell in sorted(lacking)
            if (outcome := self._found(cell, records[cell].seed or 0)) is not None
        ]
        if found:
            self.journal.note(found)
        lacking -= {one.cell for one in found}
        batches: dict[int, list[int]] = {}
        for row in rows:
            if row.batch is not None:
                batches.setdefault(row.batch, []).append(row.cell)
        return [
            Job(
                number=number,
                cells=tuple((cell, records[cell]) for cell in cells),
                wanted=frozenset(lacking.intersection(cells)),
                loaded=loaded_for(records[cells[0]]),
            )
            for number, cells in sorted(batches.items())
            if lacking.intersection(cells)
        ]

    def _is_there(self, row: Row) -> bool:
        return row.file is not None and (self.folder / row.file).is_file()

    def _found(self, cell: int, seed: int) -> Outcome | None:
        """Return the picture of a run that was killed before it could tell the journal of it."""
        path = self.folder / file_of(cell, seed)
        if not path.is_file():
            return None
        try:
            content, text = path.read_bytes(), read_infotext(path)
        except (OSError, BadFile):
            return None
        return Outcome(
            cell=cell, file=file_of(cell, seed), sha256=hashlib.sha256(content).hexdigest(), infotext=text
        )

    def _refused(self, job: Job) -> str | None:
        return no_room(self.folder, len(job.wanted), job.cells[0][1].size)

    def _kept(self, job: Job, made: Made) -> Outcome:
        """Write the picture and return what the journal is to say of it."""
        if made.problem is not None:
            return Outcome(cell=made.cell, reason=made.problem, seconds=made.seconds)
        file = file_of(made.cell, dict(job.cells)[made.cell].seed or 0)
        try:
            put(self.folder / file, made.content)
        except BadFile as error:
            return Outcome(cell=made.cell, reason=str(error), seconds=made.seconds)
        return Outcome(
            cell=made.cell,
            file=file,
            sha256=hashlib.sha256(made.content).hexdigest(),
            infotext=made.infotext,
            warnings=made.warnings,
            seconds=made.seconds,
        )

    def _end(self) -> Report:
        self.journal.note([])
        rows = self.journal.rows()
        reasons = [row.reason for row in rows if row.state == "failed" and row.reason]
        written: list[Path] = []
        try:
            written = [write_cells(self.folder, self.plan, rows), write_page(self.folder)]
            written += write_grids(self.folder, self.plan, rows)
        except ConcordError as error:
            reasons.append(str(error))
        if self.journal.problem:
            reasons.append(self.journal.problem)
        return Report(
            folder=self.folder,
            total=len(rows),
            done=sum(row.state == "done" for row in rows),
            made=self.made,
            reasons=tuple(reasons),
            warnings=_counted(rows),
            written=tuple(written),
        )


def _counted(rows: Sequence[Row]) -> dict[str, int]:
    """Return what was said of the pictures, each line once, with the number of pictures that it is said of."""
    return dict(Counter(line for row in rows if row.state == "done" for line in dict.fromkeys(row.warnings)))


def _rows_of(plan: Plan) -> list[Row]:
    """Return the rows of all cells, batches given out."""
    cells = cells_of(plan)
    batch = {cell: one.number for one in batches_of_plan(plan, cells) for cell in one.cells}
    return [
        Row(
            cell=cell.number,
            batch=batch.get(cell.number),
            place=cell.place,
            record=changes(cell.record, plan.base) if cell.problem is None else {},
            state="waiting" if cell.problem is None else "failed",
            reason=cell.problem,
        )
        for cell in cells
    ]


def _record(base: Generation, row: Row) -> Generation:
    return replace(base, **restored(row.record))


def _plain_plan(plan: Plan) -> dict[str, Any]:
    """Return ``plan`` as JSON has it."""
    return {
        "concord": VERSION,
        "base": plain(plan.base),
        "axes": {one.place: one.text for one in plan.axes},
        "seeds": plan.seeds if isinstance(plan.seeds, int) else list(plan.seeds),
        "together": plan.together,
        "threads": plan.threads,
        "setup": plan.setup.plain(),
    }


def _restored_plan(data: dict[str, Any]) -> Plan:
    """Return the plan that a journal has; raises ``BadValue``."""
    try:
        return Plan(
            base=Generation(**restored(data["base"])),
            axes=read_axes(data["axes"]),
            seeds=data["seeds"] if isinstance(data["seeds"], int) else tuple(data["seeds"]),
            together=data["together"],
            threads=data["threads"],
            setup=Setup.restored(data["setup"]),
        )
    except (KeyError, TypeError) as error:
        raise BadValue(
            f"the journal's plan is of another version of Concord ({error}); sweep anew"
        ) from error
