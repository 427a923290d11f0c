"""Show the progress of a sweep: a line for each finished job and, in a terminal, progress bars."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Column

from mnist_cnn.sweeps.plan import Job, Plan
from mnist_cnn.sweeps.worker import repeat
from mnist_cnn.terminal import break_fields
from mnist_cnn.training.start import summarise

_REST = 40  # columns for a bar of any width, 10/10, the time left, and an accuracy


@contextmanager
def watch(plan: Plan, epochs: int) -> Iterator[None]:
    """Show the jobs of a sweep while they run. `epochs` is how many each trains, unless that is swept."""
    view = View(plan, Console(stderr=True, highlight=False), epochs)
    with view.bars:
        try:
            with repeat(view.look):
                yield
        finally:
            view.look()


class View:
    """A line for each job that ends; in a terminal below them a bar for each that is running, and one for all jobs."""

    def __init__(self, plan: Plan, console: Console, epochs: int) -> None:
        self.jobs, self.epochs = plan.jobs, epochs
        widest = max(console.width - _REST, 10)
        name = TextColumn("{task.description}", table_column=Column(no_wrap=True, max_width=widest))
        columns = (name, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.fields[note]}"))
        self.bars = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._all = self.bars.add_task("jobs", total=len(plan.jobs), note="")
        self._running = dict[Job, TaskID]()
        self._left = [job for job in plan.jobs if plan.is_to_train(job)]
        counts = Counter(plan.standing(job).status for job in plan.jobs)
        outdated = f", {counts['outdated']} outdated" if counts["outdated"] else ""
        repeated = f" ({plan.repeated} repeated)" if plan.repeated else ""
        jobs = f"{len(plan.jobs)} job{'s' * (len(plan.jobs) > 1)}{repeated} in {plan.folder}"
        self._print(f"{jobs}, {counts['complete']} already complete{outdated}")

    def look(self) -> None:
        """Read the run directories, and show what has changed."""
        for job in self._left[:]:
            if result := job.run.result():
                self._left.remove(job)
                complete = result.get("status") == "complete"
                self._print(f"{job.name}: {summarise(result) if complete else 'failed: ' + str(result.get('error'))}")
        if not self.bars.disable:
            self._update_bars()

    def _print(self, line: str) -> None:
        console = self.bars.console
        shown = break_fields(line, console.width) if console.is_terminal else line
        console.print(shown, markup=False, soft_wrap=True)

    def _update_bars(self) -> None:
        statuses = {job: job.run.status() for job in self.jobs}
        counts = Counter(statuses.values())
        parts = 0.0  # of the jobs that are running
        for job, status in statuses.items():
            if status == "running":
                parts += self._show_running(job) / self.epochs
            elif job in self._running:
                self.bars.remove_task(self._running.pop(job))
        done = counts["failed"] + counts["complete"] + min(parts, 0.99)
        self.bars.update(self._all, completed=done, note=f"{counts['failed']} failed" if counts["failed"] else "")

    def _show_running(self, job: Job) -> int:
        """Show a running job. Returns how many epochs it has trained."""
        if job not in self._running:
            self._running[job] = self.bars.add_task(job.name, total=self.epochs, note="")
        row = (job.run.rows() or [{}])[-1]
        accuracy = next((f"{name} {float(row[name]):.4f}" for name in ("val/acc", "train/acc") if name in row), "")
        epoch = int(row.get("epoch", 0))
        self.bars.update(self._running[job], completed=epoch, note=accuracy)
        return epoch
