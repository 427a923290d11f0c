import importlib.util
import json
import os
import re
import shutil
from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
import torch
from PIL import Image
from scipy.stats import binomtest

from mnist_cnn import report
from mnist_cnn.reports import run_report, sweep_report
from mnist_cnn.reports.report import write_report
from mnist_cnn.runs.directory import Run
from mnist_cnn.runs.trained import load_trained
from mnist_cnn.settings import compose
from mnist_cnn.training.start import Options, train
from tests.conftest import Answer, Trained, one_line

RUN_PICTURES = ["calibration", "confusion", "evidence", "kernels", "learning", "maps", "mistakes", "robustness"]
DENSE_PICTURES = [name for name in RUN_PICTURES if name not in ("kernels", "maps")]
Cli = Callable[..., Answer]


def quick(path: Path, *overrides: str) -> dict[str, Any]:
    settings = compose(*overrides, "data.name=sample", "trainer=cpu", "trainer.max_epochs=1")
    return train(settings, Run(path), Options(list(overrides)))


@pytest.fixture(scope="module", autouse=True)
def few_images() -> Iterator[None]:
    """Distort 50 test images, not 1,000 or 2,000."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (run_report, sweep_report):
            patch.setattr(module, "_DISTORTED", 50)
        yield


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two dense networks with two seeds each, and a job that failed."""
    folder = tmp_path_factory.mktemp("sweep")
    for hidden in ("8", "32"):
        for seed in ("0", "1"):
            job = [f"model.hidden={hidden}", f"seed={seed}", "model=dense", "data.val_size=500"]
            quick(folder / f"hidden={hidden},seed={seed}", *job)
    Run(folder / "failed").path.mkdir()
    Run(folder / "failed").fail("no", ["model.hidden=0", "seed=0", "model=dense", "data.val_size=500"])
    return folder


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a network that is quick to look at."""
    folder = tmp_path_factory.mktemp("dense") / "run"
    quick(folder, "model=dense", "model.hidden=8")
    return folder


@pytest.fixture
def run(dense: Path, tmp_path: Path) -> Path:
    """A copy of that run, to write into."""
    return Path(shutil.copytree(dense, tmp_path / "run"))


@pytest.fixture(scope="module")
def page(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of the trained run, whose overrides are a stranger's."""
    run = Path(shutil.copytree(trained.path, tmp_path_factory.mktemp("page") / "run"))
    Run(run).finish({**trained.result, "overrides": ["<script>alert(1)</script>"]})
    assert write_report(run) == os.path.relpath(run / "report.html")
    return (run / "report.html").read_text()


def pictures(page: str) -> Sequence[str]:
    head = r'<h2 id="([\w.-]+)">[^<]*</h2>\s*<figure>\s*(?:<div class="wide">|<ul class="tiles">\s*<li>)'
    return sorted(re.findall(rf'{head}<img src="data:image/png;base64,', page))


def test_a_page_has_the_run_and_all_its_pictures(page: str, trained: Trained) -> None:
    assert pictures(page) == RUN_PICTURES
    right = round(1000 * trained.result["test/acc"])
    low, high = binomtest(right, 1000).proportion_ci(method="wilson")
    interval = f"(95 % CI {100 * low:.1f}–{100 * high:.1f})"
    assert f"<h1>{right / 10:.2f} % of 1,000 test images read correctly {interval}</h1>" in page
    assert "max_epochs: 5" in page
    assert "conv3 (Conv2d)" in page
    assert "104,202" in page
    assert len(page) < 3_000_000


def test_a_page_makes_no_request(page: str) -> None:
    assert set(re.findall(r'(?:src|href)="([^",]*)', page)) == {"data:image/png;base64"}
    assert not re.search(r"<script|<link|@import|url\(", page)  # the run's own text is escaped


def test_a_sweeps_page_compares_its_complete_runs(sweep: Path, cli: Cli) -> None:
    answer = cli(report.main, sweep)
    assert (answer.status, answer.err) == (0, "")
    page = (sweep / "report.html").read_text()
    assert pictures(page) == ["by-model.hidden", "curves", "robustness"]
    assert re.search(r">failed\s*</td>", page)
    assert page.count("<td>dense1 (Linear)</td>") == 2  # two networks
    assert "25,450" in page  # parameters of the larger


def test_a_sweeps_page_says_who_is_ahead_and_links_the_runs(sweep: Path) -> None:
    page = sweep_report.report_sweep(sweep).html()
    (told,) = re.findall(
        r"<p>(32 is (?:ahead of|behind) 8 by .* \(mean and sd of n = 2 .* seed, .*with n = 2, .*)</p>",
        page,
    )
    first, second = (
        [Run(sweep / f"hidden={hidden},seed={seed}").result()["val/acc"] for seed in (0, 1)] for hidden in (32, 8)
    )
    assert f"{100 * abs(mean(first) - mean(second)):.2f} ± " in told
    assert '<a href="hidden%3D32%2Cseed%3D0/">seed 0</a>' in page
    assert "mnist-sample" in page


def test_without_validation_the_test_set_is_no_basis_for_a_choice(sweep: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(sweep, tmp_path / "sweep"))
    for run in map(Run, folder.glob("hidden=*")):
        run.finish({key: value for key, value in run.result().items() if not key.startswith("val/")})
    page = sweep_report.report_sweep(folder).html()
    assert "the test set is no basis for a choice" in page
    assert "(best)" not in page


def test_a_page_shows_the_commands_that_the_sweep_recorded(sweep: Path, tmp_path: Path, cli: Cli) -> None:
    whole = Path(shutil.copytree(sweep, tmp_path / "whole", ignore=shutil.ignore_patterns("failed")))
    commands = "python -m mnist_cnn.train -m seed=0,1\npython -m mnist_cnn.train -m seed=0,1,2"
    (whole / "command.txt").write_text(f"{commands}\n")
    cli(report.main, whole)
    assert f"<pre>{commands}</pre>" in (whole / "report.html").read_text()


def test_data_sets_that_differ_are_not_measured_together(sweep: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(sweep, tmp_path / "sweep"))
    run = Run(folder / "hidden=8,seed=0")
    run.finish({**run.result(), "dataset": "mnist"})
    assert "robustness" not in [picture.name for picture in sweep_report.report_sweep(folder).pictures]


def test_a_strangers_run_writes_only_into_the_folder(sweep: Path, tmp_path: Path, cli: Cli) -> None:
    folder = Path(shutil.copytree(sweep, tmp_path / "sweep"))
    for number, run in enumerate(map(Run, folder.glob("hidden=*"))):
        key = "../../evil/$\\frac"
        run.finish({**run.result(), "overrides": [f"{key}={number}"]})
        run.metrics.write_text("epoch,train/loss\n1\n")
    assert cli(report.main, folder, "--png", tmp_path / "a" / "png").status == 0
    pictures = {"by-.._.._evil___frac.png", "by-model.hidden.png", "robustness.png"}
    assert {file.name for file in tmp_path.rglob("*.png")} == pictures
    assert {file.parent for file in tmp_path.rglob("*.png")} == {tmp_path / "a" / "png"}


def test_a_result_of_another_version_is_shown(run: Path, cli: Cli) -> None:
    Run(run).finish({"status": "complete", "versions": {"torch": "2"}})
    assert cli(report.main, run).status == 0


def test_pictures_alone_are_png_files(run: Path, tmp_path: Path, cli: Cli) -> None:
    answer = cli(report.main, run, "--png", tmp_path / "png")
    assert answer.out == f"6 pictures in {tmp_path / 'png'}\n"
    assert sorted(file.stem for file in (tmp_path / "png").glob("*.png")) == DENSE_PICTURES
    for file in (tmp_path / "png").iterdir():
        with Image.open(file) as picture:
            assert picture.width > 500
    assert not (run / "report.html").exists()


def test_a_dense_network_has_the_other_pictures_and_says_so(run: Path, cli: Cli) -> None:
    assert cli(report.main, run).status == 0
    page = (run / "report.html").read_text()
    assert pictures(page) == DENSE_PICTURES
    assert "This network has no convolution" in page


def test_an_interrupted_run_is_shown_as_such(run: Path, cli: Cli) -> None:
    (run / "result.json").unlink()
    assert cli(report.main, run).status == 0
    assert "This run is not complete (interrupted)" in (run / "report.html").read_text()


def test_misread_images_open_in_the_page_to_draw_on(run: Path) -> None:
    assert "page.html" not in run_report.report_run(run).html()
    (run / "page.html").touch()
    links = re.findall(r'<li><a href="page.html#image=([\w-]+)"><img', run_report.report_run(run).html())
    trained = load_trained(run)
    images = torch.stack(
        [torch.frombuffer(bytearray(urlsafe_b64decode(f"{each}==")), dtype=torch.uint8) for each in links]
    )
    tested = trained.test.images.flatten(1)
    found = [(tested == image).all(dim=1).nonzero()[0].item() for image in images]
    predicted = trained.classifier.predict(trained.test.images[found]).labels
    assert len(found) == 24
    assert (predicted != trained.test.labels[found]).all()


def test_alternative_texts_say_what_was_found(page: str, trained: Trained) -> None:
    mistakes = round(1000 * (1 - trained.result["test/acc"]))
    assert re.search(
        rf'alt="Confusion matrix\. {mistakes} mistakes in 1,000 test images; most often \d read as \d: ', page
    )
    assert f'alt="Learning curves. After 5 epochs: train/acc {trained.result["train/acc"]:.4f}"' in page


def test_a_checkpoint_file_gets_a_page_beside_it(dense: Path, tmp_path: Path, cli: Cli) -> None:
    shutil.copy(Run(dense).last, tmp_path / "mine.ckpt")
    assert cli(report.main, tmp_path / "mine.ckpt").status == 0
    page = (tmp_path / "mine.html").read_text()
    assert "learning" not in pictures(page)
    assert "not complete" not in page
    assert "mnist_cnn.train" not in page


def test_what_cannot_be_shown_is_one_line(run: Path, sweep: Path, tmp_path: Path, cli: Cli) -> None:
    def fails(*arguments: object) -> tuple[int, str]:
        answer = cli(report.main, *arguments)
        assert not answer.out
        return answer.status, one_line(answer.err)

    (tmp_path / "empty").mkdir()
    assert fails(tmp_path / "missing")[1].startswith(f"error: there is no {tmp_path / 'missing'}: give a run")
    assert fails(tmp_path / "empty")[0] == 2
    failed = Path(shutil.copytree(sweep / "failed", tmp_path / "sweep" / "failed")).parent
    assert fails(failed) == (2, f"error: {failed} holds no complete run: there is nothing to compare yet\n")
    (tmp_path / "file").write_text("")
    assert fails(run, "--png", tmp_path / "file") == (2, f"error: --png {tmp_path / 'file'} is a file: give a folder\n")
    assert fails(run, "--png", tmp_path / "file" / "png")[0] == 1
    (run / "report.html").mkdir()
    assert fails(run) == (1, f"error: {run / 'report.html'} cannot be written: Is a directory\n")
    started = tmp_path / "started"
    Run(started).begin("{}", "[]")
    assert "after its first epoch" in fails(started)[1]


@pytest.mark.usefixtures("offline")
def test_missing_data_are_one_line(run: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mnist_cnn.data.module.datasets.sample", lambda: pytest.fail("it is not asked for"))
    monkeypatch.setattr("mnist_cnn.runs.trained.dataset_of", lambda _: "mnist")
    answer = cli(report.main, run, "--data-dir", tmp_path / "data")
    assert answer.status == 2
    assert one_line(answer.err).endswith(": give --data-dir\n")


@pytest.mark.parametrize("package", ["matplotlib", "jinja2"])
def test_a_missing_package_is_named_with_its_command(
    package: str, run: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr("mnist_cnn.reports.report.find_spec", lambda name: None if name == package else found(name))
    answer = cli(report.main, run)
    line = f'error: a report needs {package}: pip install "mnist_cnn[report]"\n'
    assert (answer.status, answer.out, answer.err) == (2, "", line)


def test_a_table_lists_parameters_where_they_differ(sweep: Path) -> None:
    from mnist_cnn.runs.table import compare, find_runs

    records = json.loads(compare(find_runs(sweep)).render("json"))
    assert [record["parameters"] for record in records] == [25_450, 6_370, None]
    head, first, *_ = compare(find_runs(sweep)).cells()
    assert first[head.index("parameters")] == "25,450"
