"""Compare the runs of a sweep: `python -m mnist_cnn.sweep DIR [--sort KEY] [--csv|--json|--markdown] [--runs]`.

The sweep may still be running: its complete runs are compared. A run that was trained with other settings than its
overrides mean today is outdated: it has no figures in the table, a line tells what differs, and the exit status is 1.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from mnist_cnn.cli import Parser, command_line, run_command
from mnist_cnn.files import relative
from mnist_cnn.runs.rendering import render_records
from mnist_cnn.runs.standing import explain_differences
from mnist_cnn.runs.table import compare, find_runs, list_runs
from mnist_cnn.searchpath import config_dirs
from mnist_cnn.settings import quote, without
from mnist_cnn.terminal import columns


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and print the table. Returns the exit status: 1 if a run is outdated."""
    parser = Parser(prog="python -m mnist_cnn.sweep", description="Compare the runs of a sweep.")
    parser.add_argument("folder", type=Path, metavar="DIR", help="the folder of a sweep, or any folder with runs")
    parser.add_argument("--sort", metavar="KEY", help="a column; default: val/acc, if there is a validation split")
    formats = parser.add_mutually_exclusive_group()
    for kind in ("csv", "json", "markdown"):
        formats.add_argument(f"--{kind}", action="store_const", const=kind, dest="kind", help=f"print {kind}")
    parser.add_argument("--runs", action="store_true", help="a row per run, with all its settings: CSV, or JSON")
    options = parser.parse_args(arguments)
    if options.runs and options.kind == "markdown":
        parser.error("--runs prints CSV, or JSON with --json")
    runs = find_runs(options.folder)
    if options.runs:
        print(render_records(list_runs(runs), options.kind or "csv"))
        return 0
    table = compare(runs, options.sort)
    print(table.render(options.kind or "text", columns(sys.stdout)))
    for run, changed in table.outdated.items():
        retrain = [*without(runs[run], "resume"), f"hydra.run.dir={quote(relative(run.path))}", "resume=outdated"]
        said = f"trained with {explain_differences(changed)}; to train it again"
        print(f"outdated: {run.path}: {said}: {command_line('mnist_cnn.train', *retrain)}", file=sys.stderr)
    for folder in {folder for each in runs.values() for folder in config_dirs(each) if not folder.is_dir()}:
        print(f"warning: {folder} is gone: runs configured there are not compared with it", file=sys.stderr)
    return 1 if table.outdated else 0


if __name__ == "__main__":
    run_command(main)
