"""A sweep from its command line to its table."""

import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from mnist_cnn.cli import command_line
from mnist_cnn.errors import InputError
from mnist_cnn.files import locked, make_folder, write_atomically
from mnist_cnn.reports.report import check_packages, report_or_hint
from mnist_cnn.runs.latest import check_not_latest
from mnist_cnn.runs.rendering import Table, align_to_fit
from mnist_cnn.runs.standing import compose_once, explain_differences
from mnist_cnn.runs.table import compare, runs_below
from mnist_cnn.schema import Settings
from mnist_cnn.settings import without
from mnist_cnn.signals import Stopped
from mnist_cnn.sweeps.drive import build_launcher, drive
from mnist_cnn.sweeps.job import check_single_process
from mnist_cnn.sweeps.plan import Job, Plan, plan
from mnist_cnn.sweeps.watch import watch
from mnist_cnn.terminal import columns

_LOCK = ".table.lock"  # other processes may run the same sweep


def sweep(arguments: Sequence[str]) -> int:
    """Train what is missing of the sweep that overrides describe, and print its table.

    Returns the exit status: 1 if a job failed, or is outdated. Raises InputError, before anything is written, if the
    configuration is wrong; what fails later fails only its job.
    """
    overrides = without(arguments, "--plan")
    if flags := [each for each in overrides if each.startswith("-")]:
        raise InputError(f"a sweep does not take {flags[0]}: only overrides, and --plan")
    planned = plan(overrides)
    settings = _check(planned)
    if "--plan" in arguments:
        print(_describe(planned))
        return 0
    if settings.report:
        check_packages()
    again = command_line("mnist_cnn.train", "-m", *without(overrides, "resume"))  # resume=never would start over
    _record_command(planned.folder, again)
    wrong = _train(planned, settings.trainer.max_epochs, again)
    outdated = _print_table(planned).outdated
    for job, message in wrong.items():
        print(f"error: {job.name}: {message}", file=sys.stderr)
    for run, changed in outdated.items():
        print(f"outdated: {run.path.name}: trained with {explain_differences(changed)}", file=sys.stderr)
    if outdated:
        print(f"to retrain the outdated jobs: {again} resume=outdated", file=sys.stderr)
    if any(job.run.status() == "complete" for job in planned.jobs):
        print(report_or_hint(planned.folder, settings.report))
    return 1 if wrong or outdated else 0


def _train(plan: Plan, epochs: int, again: str) -> dict[Job, str]:
    """Train the jobs, and show them meanwhile. Returns what went wrong, by job."""
    for job in plan.jobs:
        job.run.forget_result(even_if_complete=plan.is_to_train(job))
    try:
        with watch(plan, epochs):
            return drive(plan)
    except Stopped:
        _print_table(plan)
        print(f"stopped; to resume: {again}", file=sys.stderr)
        raise


def _check(plan: Plan) -> Settings:
    """Return the settings of the first job. Raises InputError if the folder, or a job to be trained, is wrong."""
    check_not_latest(plan.folder, "hydra.sweep.dir")
    if plan.folder.exists() and not plan.folder.is_dir():
        raise InputError(f"{plan.folder} is a file: choose another hydra.sweep.dir")
    build_launcher(plan)
    first, *others = plan.jobs
    for job in (*filter(plan.is_to_train, others), first):
        settings = compose_once(job.overrides, plan.conf)
        check_single_process(settings)
        job.run.checkpoint_to_resume(settings.resume)  # a mistyped path
    return settings


def _describe(plan: Plan) -> str:
    """List the jobs with the status of each, and what the command would train."""
    statuses = {job.name: plan.standing(job).status for job in plan.jobs}
    to_train = sum(plan.is_to_train(job) for job in plan.jobs)
    hint = "; resume=outdated retrains the outdated" if "outdated" in statuses.values() else ""
    summary = f"{to_train} of {len(statuses)} would be trained in {plan.folder}{hint}"
    return "\n".join([*align_to_fit([("job", "status"), *statuses.items()], columns(sys.stdout)), summary])


def _record_command(folder: Path, command: str) -> None:
    """Add a command to command.txt, which has a line for each that trained in this folder: the report shows them."""
    with suppress(OSError):  # a complete sweep on a read-only disk still has a table
        make_folder(folder)
        with locked(folder / _LOCK):
            file = folder / "command.txt"
            known = file.read_text("utf-8").splitlines() if file.exists() else []
            if command not in known:
                write_atomically(file, "".join(f"{each}\n" for each in (*known, command)).encode())


def _print_table(plan: Plan) -> Table:
    jobs = {job.run: job.overrides for job in plan.jobs}
    table = compare(jobs)
    try:
        make_folder(plan.folder)
        with locked(plan.folder / _LOCK):
            whole = compare(runs_below(plan.folder.resolve()) | jobs)  # a narrower command must not hide what is there
            write_atomically(plan.folder / "table.csv", f"{whole.render('csv')}\n".encode())
    except OSError as error:
        print(f"warning: {plan.folder / 'table.csv'} cannot be written: {error.strerror}", file=sys.stderr)
    print(table.render(width=columns(sys.stdout)))
    return table
