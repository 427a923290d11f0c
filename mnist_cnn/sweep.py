"""Compare the runs of a sweep: `python -m mnist_cnn.sweep DIR [--sort KEY] [--csv|--json|--markdown]`.

It may still be running: what is complete so far is compared.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from mnist_cnn.cli import run_command
from mnist_cnn.runs.table import compare, find_runs


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and print the table."""
    parser = argparse.ArgumentParser(prog="python -m mnist_cnn.sweep", description="Compare the runs of a sweep.")
    parser.add_argument("folder", type=Path, metavar="DIR", help="the folder of a sweep, or any folder with runs")
    parser.add_argument("--sort", metavar="KEY", help="a column; default: val/acc, if there is a validation split")
    formats = parser.add_mutually_exclusive_group()
    for kind in ("csv", "json", "markdown"):
        formats.add_argument(f"--{kind}", action="store_const", const=kind, dest="kind", help=f"print {kind}")
    options = parser.parse_args(arguments)
    print(compare(find_runs(options.folder), options.sort).render(options.kind or "text"))


if __name__ == "__main__":
    run_command(main)
