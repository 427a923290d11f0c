"""Make a page to draw on: `python -m mnist_cnn.page RUN [OTHER_RUN] [--data-dir D]`.

The page is one file, page.html, in the run directory. It holds the run's weights, computes in the browser, and makes no
request: a double click opens it. With OTHER_RUN, both networks answer: a dense one beside one of convolutions, say.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from mnist_cnn.cli import Parser, run_command
from mnist_cnn.files import relative
from mnist_cnn.reports.report import check_packages
from mnist_cnn.runs.directory import checkpoint_file
from mnist_cnn.runs.latest import follow


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, and write the page."""
    parser = Parser(prog="python -m mnist_cnn.page", description="Make a page to draw digits on.")
    parser.add_argument("run", metavar="RUN", help="a run directory (outputs/latest) or a checkpoint file")
    parser.add_argument("other", metavar="OTHER_RUN", nargs="?", help="another of the same classes, to compare with")
    parser.add_argument("--data-dir", type=Path, help="the folder with the data set; default: the one of the run")
    options = parser.parse_args(arguments)
    file = write_page(options.run, options.data_dir, options.other)
    print(f"{relative(file)}  {file.stat().st_size / 1000:.0f} KB: open it in a browser")


def write_page(
    run_or_file: str | os.PathLike[str], data_dir: Path | None = None, other: str | os.PathLike[str] | None = None
) -> Path:
    """Write page.html into a run directory, or FILE.page.html beside a checkpoint file, and return where.

    Raises InputError for what cannot be shown, RunError if the page cannot be written.
    """
    check_packages("the page")
    checkpoint = checkpoint_file(run_or_file)  # before torch is imported: a wrong name answers at once
    if other is not None:
        checkpoint_file(other)

    from mnist_cnn.live.page import live_page
    from mnist_cnn.model.backend import use_exact_kernels

    use_exact_kernels()
    path = follow(Path(run_or_file))
    file = path / "page.html" if path.is_dir() else checkpoint.with_suffix(".page.html")
    live_page(path, other, data_dir).write(file)
    return file


if __name__ == "__main__":
    run_command(main)
