"""The journal of a sweep: what is planned, what is done, and what failed and why; it outlives any crash.

A SQLite database with two tables.  ``sweep``: (``key``, ``value``), the plan as JSON under ``plan``.  ``cells``:
one row a cell; its number, ``batch`` and place, its ``record`` as the fields that the base record has otherwise,
its ``state``, and once it is done its ``file`` and ``infotext``.  One transaction a batch.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.errors import BadFile

NAME = "sweep.sqlite"
LOCK = "sweep.lock"
VERSION = 1
ROOM = 1 << 20
"""Bytes that the journal keeps for itself, so that a full disk can still be noted."""
_TABLES = """
CREATE TABLE sweep (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE cells (
    cell INTEGER PRIMARY KEY,
    batch INTEGER,
    x INTEGER NOT NULL, y INTEGER NOT NULL, z INTEGER NOT NULL, seed INTEGER NOT NULL,
    record TEXT NOT NULL,
    state TEXT NOT NULL,  -- waiting, done, failed
    file TEXT, sha256 TEXT, infotext TEXT, warnings TEXT, reason TEXT,
    seconds REAL, tries INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX of_batch ON cells (batch);
"""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A cell as the journal has it."""

    cell: int
    batch: int | None
    place: tuple[int, int, int, int]
    record: dict[str, Any]
    state: str
    file: str | None = None
    sha256: str | None = None
    infotext: str | None = None
    warnings: tuple[str, ...] = ()
    reason: str | None = None
    tries: int = 0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a cell: its ``file`` below the folder, or the ``reason`` why there is none."""

    cell: int
    file: str | None = None
    sha256: str | None = None
    infotext: str | None = None
    warnings: tuple[str, ...] = ()
    reason: str | None = None
    seconds: float = 0.0


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold ``folder`` against other processes within the block; raises ``BadFile`` when another one holds it.

    The lock is the system's: it is gone with the process, however that ends.
    """
    lock = sqlite3.connect(folder / LOCK, timeout=0)
    try:
        try:
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.Error as error:
            if "locked" not in str(error):
                raise _unusable(folder / LOCK, error) from error
            raise BadFile(f"another sweep works in {folder}; wait for its end or stop it") from error
        yield
    finally:
        lock.close()


class Journal:
    """The journal in a folder, which the caller holds."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        """Use ``create`` or ``open``."""
        self.path, self._connection = path, connection
        self._owed: list[Outcome] = []
        self.problem: str | None = None

    @classmethod
    def create(cls, folder: Path, plan: Mapping[str, Any], rows: Iterable[Row]) -> Journal:
        """Return a new journal with all cells; raises ``BadFile`` when it cannot be written."""
        path = folder / NAME
        part = folder / f"{NAME}.part"
        try:
            part.unlink(missing_ok=True)
            journal = cls(path, _connected(part))
            journal._fill(plan, rows)
            journal.close()
            part.replace(path)
        except (OSError, sqlite3.Error) as error:
            raise _unusable(path, error) from error
        return cls.open(folder)

    @classmethod
    def open(cls, folder: Path) -> Journal:
        """Return the journal of ``folder``; raises ``BadFile`` when there is none, or none of this version."""
        path = folder / NAME
        if not path.is_file():
            raise BadFile(f"{folder} has no {NAME}; name the folder of a sweep")
        journal = cls(path, _connected(path))
        try:
            journal._connection.execute("PRAGMA journal_mode = PERSIST")
            version = journal._connection.execute("PRAGMA user_version").fetchone()[0]
            journal.plan()
            journal._reserve()
        except (sqlite3.Error, TypeError, ValueError) as error:
            journal.close()
            raise _unusable(path, error) from error
        if version != VERSION:
            journal.close()
            raise BadFile(f"{path} is of version {version} and this Concord reads {VERSION}; sweep anew")
        return journal

    def plan(self) -> dict[str, Any]:
        """Return the plan."""
        [text] = self._connection.execute("SELECT value FROM sweep WHERE key = 'plan'").fetchone()
        return json.loads(text)

    def rows(self) -> list[Row]:
        """Return all cells by their numbers."""
        asked = "SELECT * FROM cells ORDER BY cell"
        return [_row(one) for one in self._connection.execute(asked)]

    def note(self, outcomes: Sequence[Outcome]) -> None:
        """Write what became of the cells of a batch, in one transaction.

        When that fails, as on a full disk, it is tried again with the next batch; ``problem`` says why.
        """
        self._owed += outcomes
        try:
            with self._connection:
                self._connection.executemany(
                    "UPDATE cells SET state = ?, file = ?, sha256 = ?, infotext = ?, warnings = ?, reason = ?,"
                    " seconds = ?, tries = tries + 1 WHERE cell = ?",
                    [_values(one) for one in self._owed],
                )
        except sqlite3.Error as error:
            self.problem = f"{self.path.name} cannot be written ({error})"
        else:
            self._owed, self.problem = [], None

    def wait_again(self, cells: Sequence[int]) -> None:
        """Note that ``cells``, whose pictures are gone, are to be made again."""
        with self._connection:
            asked = "UPDATE cells SET state = 'waiting', file = NULL WHERE cell = ?"
            self._connection.executemany(asked, [(cell,) for cell in cells])

    def close(self) -> None:
        """Close the database."""
        self._connection.close()

    def _fill(self, plan: Mapping[str, Any], rows: Iterable[Row]) -> None:
        connection = self._connection
        connection.executescript(f"PRAGMA user_version = {VERSION}; {_TABLES}")
        with connection:
            connection.execute("INSERT INTO sweep VALUES ('plan', ?)", (json.dumps(plan),))
            connection.executemany(
                "INSERT INTO cells (cell, batch, x, y, z, seed, record, state, reason)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (one.cell, one.batch, *one.place, json.dumps(one.record), one.state, one.reason)
                    for one in rows
                ],
            )

    def _reserve(self) -> None:
        """Make room in the database and in the file of its rollback, which both stay as long as they are."""
        connection = self._connection
        if connection.execute("PRAGMA freelist_count").fetchone()[0]:
            return
        with connection:
            connection.execute("INSERT OR REPLACE INTO sweep VALUES ('room', ?)", ("x" * ROOM,))
        with connection:
            connection.execute("UPDATE sweep SET value = ? WHERE key = 'room'", ("y" * ROOM,))
        with connection:
            connection.execute("DELETE FROM sweep WHERE key = 'room'")


def _connected(path: Path) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(path, timeout=0)
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA synchronous = FULL")
    except sqlite3.Error as error:
        raise _unusable(path, error) from error
    return connection


def _values(one: Outcome) -> tuple[Any, ...]:
    return (
        "done" if one.reason is None else "failed",
        one.file,
        one.sha256,
        one.infotext,
        json.dumps(one.warnings),
        one.reason,
        one.seconds,
        one.cell,
    )


def _row(row: sqlite3.Row) -> Row:
    return Row(
        cell=row["cell"],
        batch=row["batch"],
        place=(row["x"], row["y"], row["z"], row["seed"]),
        record=json.loads(row["record"]),
        state=row["state"],
        file=row["file"],
        sha256=row["sha256"],
        infotext=row["infotext"],
        warnings=tuple(json.loads(row["warnings"] or "[]")),
        reason=row["reason"],
        tries=row["tries"],
    )


def _unusable(path: Path, error: Exception) -> BadFile:
    return BadFile(f"{path} cannot be used ({error}); check the disk, or sweep into another folder")
