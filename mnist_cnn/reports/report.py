"""Write report.html about a run or a sweep. torch and matplotlib are imported late: wrong names answer at once."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_cnn.cli import command_line
from mnist_cnn.errors import InputError, missing_package
from mnist_cnn.files import relative
from mnist_cnn.runs.directory import checkpoint_file
from mnist_cnn.runs.latest import follow
from mnist_cnn.runs.table import find_runs

if TYPE_CHECKING:
    from mnist_cnn.reports.page import Page

Report = Callable[[Path, Path | None], "Page"]  # from a folder, and the folder with the data set


def write_report(
    path: str | Path, png: Path | None = None, data_dir: Path | None = None, report: Report | None = None
) -> str:
    """Write the page about a run, a checkpoint file or a sweep; or, with `png`, only its pictures, into that folder.

    `report` returns the page of another folder, such as that of a search.
    Returns where. Raises InputError for what cannot be shown, RunError if nothing can be written.
    """
    check_packages()
    path = follow(Path(path))
    if not path.exists():
        raise InputError(f"there is no {path}: give a run directory, a sweep's folder or a .ckpt file")
    if png is not None and png.exists() and not png.is_dir():
        raise InputError(f"--png {png} is a file: give a folder")
    is_sweep = not report and path.is_dir() and not _is_run(path) and bool(find_runs(path))
    if not report and not is_sweep:
        checkpoint_file(path)
    from mnist_cnn.model.backend import use_exact_kernels

    use_exact_kernels()
    page = (report or (_report_sweep if is_sweep else _report_run))(path, data_dir)
    if png is not None:
        page.write_pictures(png)
        return f"{len(page.pictures)} pictures in {png}"
    destination = path / "report.html" if path.is_dir() else path.with_suffix(".html")
    page.write(destination)
    return relative(destination)


def _report_run(path: Path, data_dir: Path | None) -> "Page":
    from mnist_cnn.reports.run_report import report_run

    return report_run(path, data_dir)


def _report_sweep(path: Path, data_dir: Path | None) -> "Page":
    from mnist_cnn.reports.sweep_report import report_sweep

    return report_sweep(path, data_dir)


def report_or_hint(folder: Path, now: bool) -> str:
    """Return one line: where the report is that was written now, or the command that writes it."""
    return f"report: {write_report(folder) if now else command_line('mnist_cnn.report', relative(folder))}"


def check_packages(what: str = "a report") -> None:
    """Raise InputError if a package that pages need is not installed."""
    for package in ("matplotlib", "jinja2"):
        if find_spec(package) is None:
            raise missing_package(f"{what} needs {package}", "report")


def _is_run(folder: Path) -> bool:
    """Whether a folder is itself a run directory: training has started in it."""
    return any((folder / name).exists() for name in ("checkpoints", "result.json", ".hydra"))
