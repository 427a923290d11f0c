"""Power cuts while a checkpoint, a run, a sweep's table, a search's trial or outputs/latest is written.

Promised: whatever the disk then holds opens as the old state or the new one. A run or a trial may also be begun: it has
no result and nothing of another training, and the same command finishes a run bit-identically. What was finished stays.
"""

import csv
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from functools import partial
from io import StringIO
from pathlib import Path
from typing import NamedTuple

from mnist_cnn.runs.checkpoint import read_checkpoint
from mnist_cnn.runs.directory import Run
from mnist_cnn.runs.latest import link_latest
from mnist_cnn.runs.table import compare, find_runs
from mnist_cnn.searches.session import Session
from mnist_cnn.searches.trials import Trial
from mnist_cnn.settings import compose, load_search
from mnist_cnn.sweeps.plan import plan
from mnist_cnn.sweeps.sweep import _print_table
from mnist_cnn.training.saving import AtomicCheckpointIO
from mnist_cnn.training.start import Options, train
from tests.faults import Case
from tests.faults.durability import Disk, build
from tests.faults.runs import difference

# 32 steps an epoch; a state is saved in the middle and at the end
TINY = (
    *("data.name=sample", "data.train_size=64", "data.batch_size=2", "data.val_size=50", "model.channels=[2]"),
    *("checkpoint.every_steps=16", "trainer=cpu", "trainer.max_epochs=1", "threads=1"),
)
RESULTS = ("result.json", "checkpoints/last.ckpt", "checkpoints/best.ckpt", "metrics.csv")


class Cut(NamedTuple):
    """What was written, the disk, and a function that opens a state of it: old, begun, new, or a fault in words."""

    name: str
    disk: Disk
    open: Callable[[Path], str]


def cases(work: Path, every: int = 1) -> Iterator[Case]:
    """Open each state of the disk, or every so many, and all that are possible at the end."""
    scratch = work / "scratch"
    for kind in (checkpoints, runs, tables, searches, latest):
        (work / kind.__name__).mkdir()
        for cut in kind(work / kind.__name__):
            finished = cut.disk.left()
            for number, (key, tree) in enumerate(cut.disk.states.items()):
                if number % every == 0 or key in finished:
                    build(tree, scratch)
                    yield _case(cut, scratch, key in finished)
                    shutil.rmtree(scratch)


def _case(cut: Cut, folder: Path, finished: bool) -> Case:
    try:
        opened = cut.open(folder)
    except Exception as error:  # noqa: BLE001 - a fault, whatever it is
        opened = f"{type(error).__name__}: {error}".partition("\n")[0]
    if opened not in ("old", "begun", "new"):
        return Case("power", cut.name, opened)
    return Case("power", f"{cut.name}: {opened}", "was finished, and is lost" if finished and opened != "new" else "")


def checkpoints(work: Path) -> Iterator[Cut]:
    """Save a checkpoint in a new folder, then another over it."""
    file = Run(Path("day", "run")).last
    train(compose(*TINY), Run(work / "trained"))
    checkpoint = read_checkpoint(Run(work / "trained").last)

    def open_checkpoint(old: int, folder: Path) -> str:
        step = read_checkpoint(folder / file)["global_step"] if (folder / file).exists() else 0
        return {old: "old", old + 1: "new"}[step]

    for old, name in enumerate(("a first checkpoint", "a checkpoint over another")):
        disk = Disk(work)
        with disk.recorded():
            AtomicCheckpointIO().save_checkpoint({**checkpoint, "global_step": old + 1}, work / file)
        yield Cut(name, disk, partial(open_checkpoint, old))


def runs(work: Path) -> Iterator[Cut]:
    """Train, train for more epochs, and start over with another seed."""
    run, old, ends = Run(work / "day" / "run"), dict[str, bytes](), dict[int, dict[str, bytes]]()
    for name, seed, epochs, resume in (
        ("a first training", 0, 1, "auto"),
        ("more epochs", 0, 2, "auto"),
        ("a new training over another", 1, 2, "never"),
    ):
        keys = (f"seed={seed}", f"trainer.max_epochs={epochs}", f"resume={resume}")
        again = partial(train, compose(*TINY, *keys), options=Options(keys, show_bar=False))
        disk = Disk(work)
        with disk.recorded():
            hydra = run.path / ".hydra"
            hydra.mkdir(parents=True, exist_ok=True)
            (hydra / "overrides.yaml").write_text("".join(f"- {key}\n" for key in keys))  # as Hydra does
            again(run)
        ends[seed] = _results(run)
        yield Cut(name, disk, partial(_open_run, run, old, ends, again, set()))
        old = ends[seed]


def _open_run(
    run: Run,
    old: dict[str, bytes],
    ends: dict[int, dict[str, bytes]],
    again: Callable[[Run], object],
    finished: set[frozenset[tuple[str, bytes]]],
    folder: Path,
) -> str:
    """Open a run that is `old`, or begun, or the last of `ends`, which lists by seed what trainings end with.

    Of the begun ones that hold the same results, the first is trained to its end.
    """
    state = Run(folder / "day" / "run")
    state.overrides()
    found = _results(state)
    if state.result() or found == old:
        return "old" if found == old else "new" if found == ends[max(ends)] else "mixes results"
    seeds = {read_checkpoint(state.path / name)["config"]["seed"] for name in RESULTS[1:3] if name in found}
    rows = {seed for seed in ends if ends[seed]["metrics.csv"].startswith(found.get("metrics.csv", b""))}
    if len(seeds) > 1 or not (seeds or rows) & rows:
        return "mixes trainings"
    if (key := frozenset(found.items())) not in finished:
        finished.add(key)
        again(state)
        for left in state.path.rglob(".*.tmp"):  # the next save would overwrite it, but none may be due
            left.unlink()
        return difference(state.path, run.path) or "begun"
    return "begun"


def _results(run: Run) -> dict[str, bytes]:
    return {name: (run.path / name).read_bytes() for name in RESULTS if (run.path / name).exists()}


def tables(work: Path) -> Iterator[Cut]:
    """Sweep over two seeds, then over three."""
    written = [b""]
    for seeds, name in ("0,1", "a sweep's first table"), ("0,1,2", "a sweep's table over another"):
        planned = plan([*TINY, f"seed={seeds}", f"hydra.sweep.dir={work / 'sweep'}"])
        disk = Disk(work)
        with disk.recorded(), redirect_stdout(StringIO()):
            for job in planned.jobs:
                train(compose(*job.overrides), job.run, Options(job.overrides, show_bar=False))
            _print_table(planned)
        written.append((planned.folder / "table.csv").read_bytes())
        yield Cut(name, disk, partial(_open_table, written[-2:]))


def _open_table(old_and_new: Sequence[bytes], folder: Path) -> str:
    """Open a table, which may count only runs that are complete."""
    file = folder / "sweep" / "table.csv"
    table = file.read_bytes() if file.exists() else b""
    if (folder / "sweep").exists() and [*folder.rglob(".lock")]:
        complete = compare(find_runs(folder)).records()[0]["n"]
        if table and int(next(csv.DictReader(StringIO(table.decode())))["n"]) > complete:
            return "counts runs that are not complete"
    return ("old", "new")[old_and_new.index(table)]


def searches(work: Path) -> Iterator[Cut]:
    """Begin a search with one trial, and go on with another."""
    search = load_search("default", ["pruner=none"]).model_copy(update={"space": {"seed": [1, 2, 3]}})
    for n_trials, name in (1, "a search's first trial"), (2, "a search's next trial"):
        session = Session(search.model_copy(update={"n_trials": n_trials}), work / "search", TINY, 1)
        disk = Disk(work)
        with disk.recorded():
            session.begin()
            list(session.run())
        yield Cut(name, disk, partial(_open_search, session, session.trials()))


def _open_search(session: Session, done: Sequence[Trial], folder: Path) -> str:
    session = replace(session, folder=folder / "search")
    session.begin()
    trials = session.trials()
    for trial, end in zip(trials, done, strict=False):
        if trial.params != end.params or trial.scores not in ((), end.scores):
            return f"trial {trial.number} is another"
        if trial.run.last.exists():
            read_checkpoint(trial.run.last)
    if len(trials) < len(done):
        return "old" if len(trials) == len(done) - 1 else "lost a trial"
    return "new" if trials[-1].scores else "begun"


def latest(work: Path) -> Iterator[Cut]:
    """Point outputs/latest to a run, then to another."""
    link = Path("outputs", "latest")

    def open_latest(old: str, new: str, folder: Path) -> str:
        target = (folder / link).readlink().name if (folder / link).is_symlink() else ""
        return {old: "old", new: "new"}[target]

    for name, old, new in ("a first outputs/latest", "", "a"), ("outputs/latest over another", "a", "b"):
        run, disk = Run(work / "outputs" / new), Disk(work)
        run.path.mkdir(parents=True)
        with disk.recorded():
            link_latest(run.path, work / "outputs")
        yield Cut(name, disk, partial(open_latest, old, new))
