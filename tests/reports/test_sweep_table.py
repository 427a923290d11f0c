from pathlib import Path

import pytest
from playwright.sync_api import Page

from mnist_cnn.reports.page import TEMPLATES
from mnist_cnn.reports.page import Page as Report
from mnist_cnn.reports.sweep_table import Sheet, lay_out
from mnist_cnn.runs.directory import Run
from mnist_cnn.runs.rendering import Row, Table

RATES = {"0.001": (0.90, 0.94), "0.01": (0.80, 0.82), "1e-4": (0.97,)}


@pytest.fixture
def table(tmp_path: Path) -> Table:
    """Three learning rates; the run of seed 0 has a report in the first row."""
    rows = []
    for rate, scores in RATES.items():
        rows.append(Row({"optimizer.lr": rate}))
        for seed, accuracy in enumerate(scores):
            run = Run(tmp_path / f"lr={rate},seed={seed}")
            run.path.mkdir()
            run.finish({"settings": {"seed": seed}, "epochs": 3, "val/acc": accuracy, "train/loss": 1 - accuracy})
            rows[-1].add(run, "complete")
    (tmp_path / "lr=0.001,seed=0" / "report.html").touch()
    return Table(["optimizer.lr"], rows, "ranked by val/acc")


@pytest.fixture
def sheet(table: Table, tmp_path: Path) -> Sheet:
    return lay_out(table, tmp_path, table.rows[0])


def test_columns_that_are_alike_are_told_once(sheet: Sheet) -> None:
    assert sheet.constant == [("status", "complete"), ("epochs", "3")]
    assert [name for name, _ in sheet.columns] == ["optimizer.lr", "val/acc", "train/loss", "n"]
    assert all(is_number for _, is_number in sheet.columns)


def test_the_spread_is_a_bar_on_the_scale_of_its_column(sheet: Sheet) -> None:
    best, second, single = (line.cells[1] for line in sheet.lines)
    assert (best.text, best.spread) == ("0.9200", "0.0283")
    low, high = 0.81 - 0.02 / 2**0.5, 0.92 + 0.04 / 2**0.5
    assert second.bar == (0, pytest.approx(100 * 0.04 / 2**0.5 / (high - low), abs=0.1))
    assert best.bar is not None
    assert sum(best.bar) == pytest.approx(100, abs=0.2)
    assert (single.text, single.spread, single.bar) == ("0.9700", "", None)


def test_a_run_is_linked_to_its_report_or_to_its_directory(sheet: Sheet) -> None:
    assert sheet.lines[0].runs == [
        ("seed 0", "lr%3D0.001%2Cseed%3D0/report.html"),
        ("seed 1", "lr%3D0.001%2Cseed%3D1/"),
    ]
    assert [line.is_best for line in sheet.lines] == [True, False, False]


def test_a_click_sorts_and_a_second_one_reverses(sheet: Sheet, tmp_path: Path, offline_page: Page) -> None:
    values = {"name": "x", "command": "", "note": "ranked", "datasets": [], "conclusions": [], "networks": []}
    Report(TEMPLATES / "sweep.html", {**values, "sheet": sheet}, []).write(tmp_path / "report.html")
    offline_page.goto((tmp_path / "report.html").as_uri())

    def order() -> list[str]:
        return [text.split()[0] for text in offline_page.locator("tbody td:first-child").all_inner_texts()]

    assert order() == ["0.001", "0.01", "1e-4"]
    offline_page.get_by_role("button", name="optimizer.lr").click()
    assert order() == ["1e-4", "0.001", "0.01"]
    offline_page.get_by_role("button", name="val/acc").click()
    assert order() == ["0.01", "0.001", "1e-4"]
    offline_page.get_by_role("button", name="val/acc").click()
    assert order() == ["1e-4", "0.001", "0.01"]
