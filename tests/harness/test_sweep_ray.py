"""Sweeps on Ray: a real cluster of two workers, one of them killed; and the rules of giving out work."""

import os
import signal
from functools import partial
from types import SimpleNamespace

import pytest
from sd_concord.core.errors import BadValue, Missing
from sd_concord.harness.sweep import ray_engine as engine_module
from sd_concord.harness.sweep.conduct import begin, conduct
from sd_concord.harness.sweep.order import Loaded
from sd_concord.harness.sweep.ray_engine import ray_engine
from sd_concord.harness.sweep.setup import Setup
from sd_concord.harness.sweep.worker import Job, Made
from sweeps import BASE, journal, pictures, planned, two_hundred, undisturbed


@pytest.fixture(scope="module")
def cluster():
    ray = pytest.importorskip("ray", reason="ray is not installed")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    environ = {"env_vars": {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}}
    ray.init(
        address="local",
        num_cpus=2,
        num_gpus=0,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        runtime_env=environ,
        object_store_memory=100_000_000,
    )
    yield ray
    ray.shutdown()


def workers():
    """Return the processes that are workers of the cluster."""
    psutil = pytest.importorskip("psutil")
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            words = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if "ray::Worker" in words:
            found.append(process)
    return found


def test_two_hundred_cells_with_a_worker_killed_change_no_byte(tmp_path, cluster):
    killed, seen, batches = [], set(), []

    def engine(jobs, setup, threads, refuse):
        for done in ray_engine("auto")(jobs, setup, threads, refuse):
            batches.append(done)
            seen.update(process.pid for process in workers())
            if len(batches) == len(jobs) // 3:
                victim = workers()[0]
                victim.send_signal(signal.SIGKILL)
                killed.append(victim.pid)
            yield done

    begin(tmp_path, two_hundred())
    report = conduct(tmp_path, engine, quiet=True)
    assert len(killed) == 1
    assert len(seen) >= 2
    assert (report.done, report.made, report.reasons) == (200, 200, ())
    assert pictures(tmp_path) == pictures(undisturbed())
    same = "SELECT cell, state, file, sha256, infotext, tries FROM cells ORDER BY cell"
    assert journal(tmp_path, same) == journal(undisturbed(), same)


def test_a_plan_that_wants_more_threads_than_there_are_is_refused(tmp_path, cluster):
    begin(tmp_path, planned(threads=64))
    with pytest.raises(BadValue, match="with fewer --threads"):
        conduct(tmp_path, ray_engine("auto"), quiet=True)


def test_without_ray_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(Missing, match=r"pip install 'sd-concord\[ray\]'"):
        ray_engine("auto")


# The rules, with a Ray of straw


class RayError(Exception):
    pass


class RayTaskError(RayError):
    pass


class Ref:
    def __init__(self, actor, call):
        self.actor, self.call = actor, call


class Straw:
    """What the engine asks of Ray: actors whose calls are made when they are waited for."""

    exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)

    def __init__(self, worker, has):
        self.worker, self.has, self.killed, self.made, self.options = worker, has, [], 0, None

    def is_initialized(self):
        return True

    def cluster_resources(self):
        return self.has

    def remote(self, _):
        def options(**given):
            self.options = given
            return SimpleNamespace(remote=self._actor)

        return SimpleNamespace(options=options)

    def _actor(self, *given):
        self.made += 1
        actor = self.worker(*given)

        def remote(call):
            return SimpleNamespace(remote=lambda *words: Ref(actor, partial(call, *words)))

        return SimpleNamespace(ready=remote(actor.ready), make=remote(actor.make))

    def wait(self, refs, num_returns):
        assert num_returns == 1
        return [next(ref for ref in refs if not ref.actor.hangs)], refs

    def get(self, ref):
        return ref.call()

    def kill(self, actor):
        self.killed.append(actor)


class Good:
    hangs = False

    def __init__(self, setup, threads):
        self.setup, self.threads = setup, threads

    def ready(self):
        return True

    def make(self, job):
        return [Made(cell=cell, infotext=self.setup.device) for cell, _ in job.cells]


def jobs(count, models="a"):
    return [
        Job(
            number=i,
            cells=((i, BASE),),
            wanted=frozenset({i}),
            loaded=Loaded(models[i % len(models)], None, ()),
        )
        for i in range(count)
    ]


@pytest.fixture
def straw(monkeypatch):
    def straw(worker, refuse=lambda _: None, has=None, work=None, setup=None):
        ray = Straw(worker, has or {"CPU": 4.0})
        monkeypatch.setattr(engine_module, "_ray", lambda: ray)
        engine = ray_engine("auto")
        return ray, list(engine(jobs(6) if work is None else work, setup or Setup(device="cpu"), 2, refuse))

    return straw


def test_there_is_a_worker_for_every_so_many_threads(straw):
    ray, done = straw(Good)
    assert (ray.made, ray.options) == (2, {"max_restarts": 0, "num_cpus": 2})
    assert sorted(job.number for job, _ in done) == list(range(6))
    assert len(ray.killed) == 2


def test_there_is_a_worker_for_every_card(straw):
    ray, done = straw(Good, has={"CPU": 4.0, "GPU": 3.0}, setup=Setup())
    assert (ray.made, ray.options) == (3, {"max_restarts": 0, "num_gpus": 1})
    assert {made.infotext for _, [made] in done} == {"cuda"}


def test_there_are_no_more_workers_than_batches(straw):
    assert straw(Good, work=jobs(1))[0].made == 1
    assert straw(Good, work=[])[0].made == 0


def test_a_batch_that_is_refused_is_not_given_out(straw):
    _, done = straw(Good, lambda job: "full" if job.number % 2 else None)
    assert {job.number: made[0].problem for job, made in done} == {
        i: "full" if i % 2 else None for i in range(6)
    }


def test_a_lost_batch_is_made_by_another(straw):
    lost = []

    class Dying(Good):
        def make(self, job):
            if job.number == 2 and not lost:
                lost.append(job.number)
                raise RayError("the worker died")
            return super().make(job)

    ray, done = straw(Dying)
    assert sorted((job.number, made[0].problem) for job, made in done) == [(i, None) for i in range(6)]
    assert ray.made == 3


def test_the_last_batch_of_a_lost_worker_wakes_one_that_is_idle(straw):
    lost = []

    class Slow(Good):
        starts = 0

        def __init__(self, *given):
            super().__init__(*given)
            type(self).starts += 1
            self.hangs = self.starts == 3  # the one in the lost one's place never starts

        def make(self, job):
            if job.number == 1 and not lost:
                lost.append(1)
                raise RayError("the worker died")
            return super().make(job)

    _, done = straw(Slow, work=jobs(2))
    assert len(done) == 2


def test_a_batch_that_kills_three_workers_has_failed(straw):
    class Dying(Good):
        def make(self, job):
            if job.number == 2:
                raise RayError("the worker died\nof this")
            return super().make(job)

    _, done = straw(Dying)
    problems = {job.number: made[0].problem for job, made in done}
    assert problems.pop(2) == "3 workers were lost with it: the worker died"
    assert set(problems.values()) == {None}


def test_a_batch_that_raises_has_failed_and_its_worker_lives(straw):
    class Raising(Good):
        def make(self, job):
            if job.number == 2:
                raise RayTaskError("a fault")
            return super().make(job)

    ray, done = straw(Raising)
    assert {job.number: made[0].problem for job, made in done}[2] == "the worker said: a fault"
    assert ray.made == 2


def test_workers_that_cannot_start_end_the_sweep_in_a_line(straw):
    class Never(Good):
        def ready(self):
            raise RayError("no module named sd_concord")

    with pytest.raises(BadValue, match="Ray's workers die at once: no module named sd_concord"):
        straw(Never)


def test_models_are_shared_out(straw):
    held = {}

    class Loading(Good):
        def make(self, job):
            held.setdefault(id(self), []).append(job.loaded.model)
            return super().make(job)

    straw(Loading, work=jobs(8, "ab"))
    assert all(len(set(models)) == 1 for models in held.values())
