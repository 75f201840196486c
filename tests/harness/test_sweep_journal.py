"""The journal of a sweep and the folder that it lies in: locks, full disks, crashes at every point."""

import contextlib
import errno
import os
import sqlite3
import subprocess
import sys

import pytest
from sd_concord.core.errors import BadFile
from sd_concord.harness.sweep import output
from sd_concord.harness.sweep.journal import LOCK, NAME, Journal, Outcome, Row, held
from sd_concord.harness.sweep.output import no_room, put, sweep_parts
from sd_concord.harness.sweep.progress import Progress, clock_of

ROWS = [Row(cell=i, batch=i // 2, place=(i, 0, 0, 0), record={"cfg": i}, state="waiting") for i in range(4)]
PLAN = {"a": [1, 2]}


@pytest.fixture
def journal(tmp_path):
    made = Journal.create(tmp_path, PLAN, ROWS)
    yield made
    made.close()


def states(journal):
    return [row.state for row in journal.rows()]


def test_a_journal_says_what_was_planned(journal, tmp_path):
    assert journal.plan() == PLAN
    assert journal.rows() == ROWS
    journal.close()
    assert Journal.open(tmp_path).rows() == ROWS


def test_a_batch_is_noted_in_one_go(journal, tmp_path):
    journal.note(
        [Outcome(cell=0, file="a.png", infotext="text", warnings=("w",)), Outcome(cell=1, reason="no")]
    )
    journal.close()
    first, second, *rest = Journal.open(tmp_path).rows()
    assert (first.state, first.file, first.infotext, first.warnings) == ("done", "a.png", "text", ("w",))
    assert (second.state, second.reason, second.tries) == ("failed", "no", 1)
    assert [row.state for row in rest] == ["waiting", "waiting"]


def test_what_failed_and_is_done_later_has_no_reason(journal):
    journal.note([Outcome(cell=0, reason="no")])
    journal.note([Outcome(cell=0, file="a.png")])
    row = journal.rows()[0]
    assert (row.state, row.reason, row.tries) == ("done", None, 2)


def test_what_could_not_be_noted_is_noted_with_the_next_batch(journal):
    journal._connection.execute("PRAGMA query_only = ON")
    journal.note([Outcome(cell=0, file="a.png")])
    assert "cannot be written" in journal.problem
    assert states(journal)[0] == "waiting"
    journal._connection.execute("PRAGMA query_only = OFF")
    journal.note([Outcome(cell=1, file="b.png")])
    assert journal.problem is None
    assert states(journal)[:2] == ["done", "done"]


def test_a_journal_that_is_cut_short_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr(Journal, "_fill", lambda *_: (_ for _ in ()).throw(sqlite3.OperationalError("full")))
    with pytest.raises(BadFile, match=r"cannot be used \(full\)"):
        Journal.create(tmp_path, PLAN, ROWS)
    assert not (tmp_path / NAME).exists()


@pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\x00" + b"x" * 200])
def test_a_damaged_journal_is_refused_in_a_line(tmp_path, content):
    (tmp_path / NAME).write_bytes(content)
    with pytest.raises(BadFile, match=NAME) as caught:
        Journal.open(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_journal_of_another_version_is_refused(journal, tmp_path):
    journal._connection.execute("PRAGMA user_version = 99")
    journal.close()
    with pytest.raises(BadFile, match="version 99"):
        Journal.open(tmp_path)


def test_a_folder_without_a_journal_is_refused(tmp_path):
    with pytest.raises(BadFile, match=r"has no sweep\.sqlite"):
        Journal.open(tmp_path)


# Two processes


def test_a_folder_is_held_by_one(tmp_path):
    with held(tmp_path), pytest.raises(BadFile, match="another sweep works in"), held(tmp_path):
        pass
    with held(tmp_path):
        pass


def test_another_process_is_kept_out_and_a_killed_one_lets_go(tmp_path):
    code = (
        "import sqlite3, sys, time; c = sqlite3.connect(sys.argv[1]); c.execute('BEGIN EXCLUSIVE');"
        "print('held', flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / LOCK)], stdout=subprocess.PIPE)
    try:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(BadFile, match="another sweep works in"), held(tmp_path):
            pass
    finally:
        other.kill()
        other.wait()
    with held(tmp_path):
        pass


# Files


def test_a_picture_is_whole_or_not_there(tmp_path, monkeypatch):
    def cut(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", cut)
    with pytest.raises(BadFile, match="the disk is full"):
        put(tmp_path / "a.png", b"content")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    put(tmp_path / "a.png", b"content")
    assert (tmp_path / "a.png").read_bytes() == b"content"
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_the_content_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    order = []
    fsync, replace = os.fsync, type(tmp_path).replace
    monkeypatch.setattr(os, "fsync", lambda fd: (order.append("fsync"), fsync(fd))[1])
    monkeypatch.setattr(type(tmp_path), "replace", lambda a, b: (order.append("name"), replace(a, b))[1])
    put(tmp_path / "a.png", b"content")
    assert order == ["fsync", "name"]


def test_what_was_half_written_goes(tmp_path):
    (tmp_path / ".a.png.part").write_bytes(b"half")
    (tmp_path / "a.png").write_bytes(b"whole")
    sweep_parts(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_a_disk_that_is_nearly_full_is_noticed_before_the_work(tmp_path, monkeypatch):
    assert no_room(tmp_path, 1, (64, 64)) is None
    usage = type("Usage", (), {"free": 2_000_000})
    monkeypatch.setattr(output.shutil, "disk_usage", lambda _: usage)
    assert no_room(tmp_path, 1, (64, 64)) is None
    assert "the disk is full" in no_room(tmp_path, 16, (1024, 1024))


@pytest.fixture
def small_disk(tmp_path):
    """A disk of four megabytes, where one can be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no disk can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_can_still_be_noted(small_disk):
    journal = Journal.create(small_disk, PLAN, ROWS)
    with (small_disk / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    with pytest.raises(BadFile, match="the disk is full"):
        put(small_disk / "a.png", b"x" * 10000)
    journal.note([Outcome(cell=0, reason="the disk is full " * 20)])
    assert journal.problem is None
    journal.close()
    assert Journal.open(small_disk).rows()[0].state == "failed"


# Progress


class Stream:
    def __init__(self, tty):
        self.text, self._tty = "", tty

    def isatty(self):
        return self._tty

    def write(self, text):
        self.text += text

    def flush(self):
        pass


def progressed(stream, *, quiet=False):
    now = [0.0]
    progress = Progress(100, 20, quiet=quiet, stream=stream, clock=lambda: now[0])
    for i in range(4):
        now[0] += 10
        progress.update(20, f"{i}.png")
    progress.close()
    return stream.text


def test_a_log_gets_a_line_now_and_then():
    lines = progressed(Stream(tty=False)).splitlines()
    assert lines == [
        "sweep 60/100 cells · 120 a minute · 0:20 left · 1.png",
        "sweep 100/100 cells · 120 a minute · 0:00 left · 3.png",
    ]


def test_those_that_failed_are_counted_apart_and_make_nothing_faster():
    now, stream = [0.0], Stream(tty=False)
    progress = Progress(200, stream=stream, clock=lambda: now[0])
    for cells, failed in ((0, 100), (50, 50)):
        now[0] += 15
        progress.update(cells, "a.png" if cells else None, failed=failed)
    progress.close()
    assert stream.text.splitlines() == [
        "sweep 100/200 cells · 100 failed · 0:15 left",
        "sweep 200/200 cells · 150 failed · 100 a minute · 0:00 left · a.png",
    ]


def test_a_terminal_gets_a_bar():
    text = progressed(Stream(tty=True))
    assert "\r" in text
    assert "100/100" in text
    assert "3.png" in text


def test_a_notebook_gets_its_own_bar(monkeypatch):
    import tqdm.auto

    bars = []

    class Bar:
        def __init__(self, **options):
            self.options, self.n, self.last = options, 0, ""
            bars.append(self)

        def set_postfix_str(self, text, refresh):
            self.last = text

        def update(self, n):
            self.n += n

        def close(self):
            pass

    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    monkeypatch.setattr(tqdm.auto, "tqdm", Bar)
    assert progressed(Stream(tty=False)) == ""
    [bar] = bars
    assert (bar.options["total"], bar.options["initial"], bar.n, bar.last) == (100, 20, 80, "3.png")


def test_quiet_says_nothing():
    assert progressed(Stream(tty=False), quiet=True) == progressed(Stream(tty=True), quiet=True) == ""


@pytest.mark.parametrize(("seconds", "text"), [(7, "0:07"), (750, "12:30"), (3723, "1:02:03")])
def test_time_is_written_as_on_a_clock(seconds, text):
    assert clock_of(seconds) == text


def test_a_journal_whose_room_was_being_made_when_it_was_killed_is_opened(journal, tmp_path):
    journal.close()
    connection = sqlite3.connect(tmp_path / NAME)
    with connection:
        connection.execute("INSERT INTO sweep VALUES ('room', ?)", ("x" * (1 << 20),))
    connection.execute("VACUUM")
    connection.close()
    opened = Journal.open(tmp_path)
    assert opened.rows() == ROWS
    opened.close()
