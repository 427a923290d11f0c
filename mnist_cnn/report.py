"""Show a run, a sweep or a search in pictures: `python -m mnist_cnn.report RUN_OR_SWEEP [--png DIR] [--data-dir D]`.

The page is one file, report.html, in that folder. With --png only the pictures are written.
"""

from collections.abc import Sequence
from pathlib import Path

from mnist_cnn.cli import Parser, run_command
from mnist_cnn.reports.report import Report, check_packages, write_report


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, and write the page or the pictures."""
    parser = Parser(prog="python -m mnist_cnn.report", description="Show a run, a sweep or a search.")
    parser.add_argument(
        "path", metavar="RUN_OR_SWEEP", help="a run directory, a checkpoint file, or the folder of a sweep or a search"
    )
    parser.add_argument("--png", type=Path, metavar="DIR", help="write only the pictures, as PNG files, into DIR")
    parser.add_argument("--data-dir", type=Path, help="the folder with the data set; default: the one of the run")
    options = parser.parse_args(arguments)
    print(write_report(options.path, options.png, options.data_dir, _search_report(Path(options.path))))


def _search_report(folder: Path) -> Report | None:
    """Return what reports the search in a folder; None if it holds no search."""
    if not (folder / "search.json").is_file():
        return None
    check_packages()
    from mnist_cnn.searches.report import report_search

    return report_search


if __name__ == "__main__":
    run_command(main)
