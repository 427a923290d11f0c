"""Run a sweep to its end: Hydra's launchers start jobs until each has a result."""

import logging
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext

from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext

from mnist_cnn.errors import InputError
from mnist_cnn.settings import explain
from mnist_cnn.sweeps.job import run_job
from mnist_cnn.sweeps.plan import Job, Plan
from mnist_cnn.sweeps.slurm import ENDED, watch_queue
from mnist_cnn.sweeps.worker import stop_workers

log = logging.getLogger(__name__)

_ATTEMPTS = 3  # for a job whose process dies; each resumes from what the one before it saved
_WAIT = 0.5  # seconds between looks at a job that another process trains


def drive(plan: Plan) -> dict[Job, str]:
    """Train all jobs that are neither complete nor outdated. Returns what went wrong, by job.

    Several processes may drive one sweep: they share its jobs, and each waits for the jobs of the others.
    """
    left = [job for job in plan.jobs if plan.is_to_train(job)]
    deaths, wrong, waited_for = Counter[Job](), dict[Job, str](), list[Job]()
    while left:
        free = [job for job in left if not job.run.is_in_use()]
        healthy = [job for job in free if not deaths[job]]
        launched = healthy if plan.is_parallel and healthy else free[:1]  # alone, a job can end no other
        wrong |= _train(plan, launched, deaths)
        wrong |= {job: str(job.run.result()["error"]) for job in left if job.run.has_failed()}  # also by others
        left = [job for job in left if job not in wrong and not job.run.result()]
        if left and not launched:
            if waited_for != left:
                waited_for = left
                names = ", ".join(job.name for job in left[:3]) + (", …" if len(left) > 3 else "")
                log.warning("waiting for %d jobs that other processes train: %s", len(left), names)
            time.sleep(_WAIT)
    return wrong


def _train(plan: Plan, jobs: Sequence[Job], deaths: Counter[Job]) -> dict[Job, str]:
    """Launch jobs once, and count those whose process died. Returns what went wrong, by job."""
    begin = time.time()
    returned, reason = _launch(plan, jobs) if jobs else ({}, "")
    # a process that dies ends the whole launch: the other jobs of it may not have started
    started = [job for job in jobs if job.run.was_locked_since(begin)] or jobs
    for job in started:
        if job not in returned and not job.run.result():
            deaths[job] += 1
            if deaths[job] == _ATTEMPTS:
                returned[job] = f"{_ATTEMPTS} attempts failed: {reason}"
    wrong = {job: message for job, message in returned.items() if message}
    for job, message in wrong.items():
        job.run.fail(message, job.overrides)
    return wrong


def _launch(plan: Plan, jobs: Sequence[Job]) -> tuple[dict[Job, str], str]:
    """Train jobs by Hydra's launcher. Returns what went wrong with each, empty if nothing did.

    Jobs whose process died, or never started, are not in there; the launcher's reason comes second.
    """
    # a process that imports torch in its second job looks to joblib as if it leaked, and joblib replaces it
    warnings.filterwarnings("ignore", message="A worker stopped while some jobs were given")
    launcher = build_launcher(plan)
    submitted = watch_queue() if plan.launcher == "SlurmLauncher" else None
    try:
        with stop_workers(plan.jobs[0].run.path.parent) if plan.launcher == "JoblibLauncher" else nullcontext():
            returned = launcher.launch([job.all_overrides for job in jobs], initial_job_idx=0)
    except Exception as error:  # noqa: BLE001 - `run_job` raises none: Hydra failed, or a process died
        if not plan.is_parallel:
            return dict.fromkeys(jobs, explain(error)), ""
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        if submitted is not None:  # all its jobs have left the queue; they may have been cancelled: none starts again
            without = [job for job in jobs if job.run.status() in ("waiting", "interrupted")]
            return dict.fromkeys(jobs, "") | dict.fromkeys(without, ENDED if submitted else reason), ""
        log.warning("warning: the launcher failed: %s", reason)
        return {}, reason
    return {job: str(each.return_value) for job, each in zip(jobs, returned, strict=True)}, ""


def build_launcher(plan: Plan) -> Launcher:
    """Build the launcher that starts the jobs. Raises InputError if it refuses an option."""
    context = HydraContext(plan.loader, _NoCallbacks())  # type: ignore[arg-type]
    try:
        return Plugins.instance().instantiate_launcher(hydra_context=context, task_function=run_job, config=plan.cfg)
    except HydraException as error:
        raise InputError(f"hydra.launcher is wrong: {plan.launcher}: {error.__cause__ or error}") from error


class _NoCallbacks:
    """Launchers announce the start and the end of each job; nobody listens."""

    def on_job_start(self, **_: object) -> None: ...

    def on_job_end(self, **_: object) -> None: ...
