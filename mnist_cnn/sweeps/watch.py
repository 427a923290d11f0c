"""Shows the progress of a sweep: a line for each finished job and, in a terminal, progress bars."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from mnist_cnn.sweeps.plan import Job, Plan
from mnist_cnn.training.start import summarise

_EVERY = 0.5  # seconds between looks at the run directories


@contextmanager
def watch(plan: Plan, epochs: int) -> Iterator[None]:
    """Show the jobs of a sweep while they run. `epochs` is how many each trains, unless that is swept."""
    console, ended = Console(stderr=True, highlight=False), threading.Event()
    view = LiveView(plan, console, epochs) if console.is_terminal else Lines(plan, console)

    def look_again() -> None:
        while not ended.wait(_EVERY):
            view.look()

    thread = threading.Thread(target=look_again, daemon=True)
    with view:
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            view.look()


class Lines:
    """A line for each job that ends."""

    def __init__(self, plan: Plan, console: Console) -> None:
        self.jobs, self.console = plan.jobs, console
        self._left = [job for job in plan.jobs if plan.is_to_train(job)]
        counts = Counter(plan.standing(job).status for job in plan.jobs)
        outdated = f", {counts['outdated']} outdated" if counts["outdated"] else ""
        repeated = f" ({plan.repeated} repeated)" if plan.repeated else ""
        jobs = f"{len(plan.jobs)} job{'s' * (len(plan.jobs) > 1)}{repeated} in {plan.folder}"
        self._print(f"{jobs}, {counts['complete']} already complete{outdated}")

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...

    def look(self) -> None:
        """Look at the run directories, and show what has changed."""
        for job in self._left[:]:
            if result := job.run.result():
                self._left.remove(job)
                complete = result.get("status") == "complete"
                self._print(f"{job.name}: {summarise(result) if complete else 'failed: ' + str(result.get('error'))}")

    def _print(self, line: str) -> None:
        self.console.print(line, markup=False, soft_wrap=True)


class LiveView(Lines):
    """The same lines above a bar over all jobs, and a bar for each that is running."""

    def __init__(self, plan: Plan, console: Console, epochs: int) -> None:
        super().__init__(plan, console)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bars = Progress(*columns, TextColumn("{task.fields[said]}"), console=console, transient=True)
        self._all = self._bars.add_task("jobs", total=len(plan.jobs), said="")
        self._epochs, self._running = epochs, dict[Job, TaskID]()

    def __enter__(self) -> None:
        self._bars.start()

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def look(self) -> None:
        super().look()
        statuses = {job: job.run.status() for job in self.jobs}
        failed = [*statuses.values()].count("failed")
        done = failed + [*statuses.values()].count("complete")
        parts = 0.0  # of the jobs that are running
        for job, status in statuses.items():
            if status == "running":
                parts += self._show(job) / self._epochs
            elif job in self._running:
                self._bars.remove_task(self._running.pop(job))
        self._bars.update(self._all, completed=done + min(parts, 0.99), said=f"{failed} failed" if failed else "")

    def _show(self, job: Job) -> int:
        """Show a running job. Returns how many epochs it has been trained."""
        if job not in self._running:
            self._running[job] = self._bars.add_task(job.name, total=self._epochs, said="")
        row = (job.run.rows() or [{}])[-1]
        accuracy = "  ".join(f"{name} {float(row[name]):.4f}" for name in ("train/acc", "val/acc") if name in row)
        epoch = int(row.get("epoch", 0))
        self._bars.update(self._running[job], completed=epoch, said=accuracy)
        return epoch
