"""Compare the runs of a sweep: `python -m mnist_cnn.sweep DIR [--sort KEY] [--csv|--json|--markdown] [--runs]`.

It may still be running: what is complete so far is compared. Runs of settings that are no longer theirs are outdated:
they count nowhere, and a line tells what differs. The exit status is then 1.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from mnist_cnn.cli import Parser, command_line, run_command
from mnist_cnn.files import relative
from mnist_cnn.runs.standing import explain_differences
from mnist_cnn.runs.table import compare, find_runs, list_runs, render_records
from mnist_cnn.searchpath import config_dirs
from mnist_cnn.settings import quote


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
        parser.error("--runs prints CSV, or with --json JSON")
    runs = find_runs(options.folder)
    if options.runs:
        print(render_records(list_runs(runs), "json" if options.kind == "json" else "csv"))
        return 0
    table = compare(runs, options.sort)
    print(table.render(options.kind or "text"))
    for run, changed in table.outdated.items():
        where = f"hydra.run.dir={quote(relative(run.path))}"
        overrides = [each for each in runs[run] if not each.startswith("resume=")]
        again = command_line("mnist_cnn.train", *overrides, where, "resume=outdated")
        said = f"outdated: {run.path}: trained with {explain_differences(changed)}; to train it again: {again}"
        print(said, file=sys.stderr)
    for folder in {folder for each in runs.values() for folder in config_dirs(each) if not folder.is_dir()}:
        print(f"warning: {folder} is gone: runs configured there are not compared with it", file=sys.stderr)
    return 1 if table.outdated else 0


if __name__ == "__main__":
    run_command(main)
