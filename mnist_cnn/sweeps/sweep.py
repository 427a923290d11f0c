"""A sweep from its command line to its table."""

import sys
from collections.abc import Sequence

from mnist_cnn.cli import command_line
from mnist_cnn.errors import InputError
from mnist_cnn.files import locked, make_folder, write_atomically
from mnist_cnn.reports.report import check_packages, report_or_hint
from mnist_cnn.runs.standing import compose_once, explain_differences
from mnist_cnn.runs.table import Table, align, compare, runs_below
from mnist_cnn.schema import Settings
from mnist_cnn.signals import Stopped
from mnist_cnn.sweeps.drive import build_launcher, drive
from mnist_cnn.sweeps.job import check_single_process
from mnist_cnn.sweeps.plan import Plan, plan
from mnist_cnn.sweeps.watch import watch


def sweep(arguments: Sequence[str]) -> int:
    """Train what is missing of the sweep that overrides describe, and print its table.

    Returns the exit status: 1 if a job failed, or is outdated. Raises InputError, before anything is written, for a
    configuration that is refused; what fails later fails one job alone.
    """
    shown_only, arguments = "--plan" in arguments, [each for each in arguments if each != "--plan"]
    if flags := [each for each in arguments if each.startswith("-")]:
        raise InputError(f"{flags[0]} cannot be used in a sweep: give overrides only, or --plan")
    planned = plan(arguments)
    if planned.folder.exists() and not planned.folder.is_dir():
        raise InputError(f"{planned.folder} is a file: give another hydra.sweep.dir")
    build_launcher(planned)
    settings = _check(planned)
    if shown_only:
        print(_show(planned))
        return 0
    if settings.report:
        check_packages()
    for job in planned.jobs:
        job.run.forget_result(even_if_complete=planned.is_to_train(job))
    try:
        with watch(planned, settings.trainer.max_epochs):
            wrong = drive(planned)
    except Stopped:
        _print_table(planned)
        command = command_line("mnist_cnn.train", "-m", *_without_resume(arguments))
        print(f"stopped; to resume: {command}", file=sys.stderr)
        raise
    outdated = _print_table(planned).outdated
    for job, message in wrong.items():
        print(f"error: {job.name}: {message}", file=sys.stderr)
    for run, changed in outdated.items():
        print(f"outdated: {run.path.name}: trained with {explain_differences(changed)}", file=sys.stderr)
    if outdated:
        again = command_line("mnist_cnn.train", "-m", *_without_resume(arguments), "resume=outdated")
        print(f"to retrain the outdated jobs: {again}", file=sys.stderr)
    if any(job.run.status() == "complete" for job in planned.jobs):
        print(report_or_hint(planned.folder, settings.report))
    return 1 if wrong or outdated else 0


def _check(plan: Plan) -> Settings:
    """Return the settings of the first job. Raises InputError if a job that is to be trained cannot be."""
    first, *others = plan.jobs
    for job in (*filter(plan.is_to_train, others), first):
        settings = compose_once(job.overrides, plan.conf)
        check_single_process(settings)
        job.run.checkpoint_to_resume(settings.resume)  # a mistyped path
    return settings


def _show(plan: Plan) -> str:
    """List the jobs with where each stands, and what the command would do."""
    words = {"waiting": "new", "interrupted": "resumable"}
    statuses = [plan.standing(job).status for job in plan.jobs]
    lines = [[job.name, words.get(status, status)] for job, status in zip(plan.jobs, statuses, strict=True)]
    to_train = sum(plan.is_to_train(job) for job in plan.jobs)
    hint = "; resume=outdated retrains the outdated" if "outdated" in statuses else ""
    summary = f"{to_train} of {len(lines)} would be trained in {plan.folder}{hint}"
    return "\n".join([*align([["job", "status"], *lines]), summary])


def _without_resume(arguments: Sequence[str]) -> list[str]:
    """Return the arguments for a command that goes on: resume=never would start over again."""
    return [each for each in arguments if not each.startswith("resume=")]


def _print_table(plan: Plan) -> Table:
    jobs = {job.run: job.overrides for job in plan.jobs}
    table = compare(jobs)
    try:
        make_folder(plan.folder)
        with locked(plan.folder / ".table.lock"):  # another process may end the same sweep now
            whole = compare(runs_below(plan.folder.resolve()) | jobs)  # a narrower command must not hide what is there
            write_atomically(plan.folder / "table.csv", f"{whole.render('csv')}\n".encode())
    except OSError as error:
        print(f"warning: {plan.folder / 'table.csv'} cannot be written: {error.strerror}", file=sys.stderr)
    print(table.render())
    return table
