"""Without a terminal each job that ends is a line; in a terminal a live view shows what is done, running and failed."""

import io
import threading
from pathlib import Path

import pytest
from rich.console import Console

from mnist_cnn.files import write_atomically
from mnist_cnn.sweeps.plan import Plan, plan
from mnist_cnn.sweeps.watch import View, watch

RESULT = {"status": "complete", "dataset": "mnist", "test/acc": 0.5, "test/loss": 1.5, "test_images": 10,
          "overrides": ["seed=0"], "settings": {"seed": 0}}  # fmt: skip


@pytest.fixture
def planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    monkeypatch.chdir(tmp_path)
    planned = plan(["seed=0,1,2", "hydra.sweep.dir=mine"])
    planned.jobs[0].run.finish({**RESULT, "conf_hash": planned.conf})
    return planned


def test_without_a_terminal_each_job_that_ends_is_a_line(planned: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    with watch(planned, 5):
        planned.jobs[1].run.finish(RESULT)
        planned.jobs[2].run.fail("no more memory", ["seed=2"])
    assert capsys.readouterr().err.splitlines() == [
        "3 jobs in mine, 1 already complete",
        "seed=1: mnist: test/acc 0.5000  test/loss 1.5000  on 10 test images",
        "seed=2: failed: no more memory",
    ]


def test_a_terminal_shows_what_is_done_running_and_failed(planned: Plan) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, color_system=None, width=140, highlight=False)
    view = View(planned, console, epochs=5)
    with planned.jobs[1].run.locked():
        write_atomically(planned.jobs[1].run.metrics, b"epoch,step,train/acc\n1,63,0.7\n2,126,0.9\n")
        view.look()
        console.print(view.bars)
    all_jobs, running = screen.getvalue().splitlines()[-2:]
    assert ("jobs" in all_jobs, "1/3" in all_jobs) == (True, True)
    assert ("seed=1" in running, "2/5" in running, "train/acc 0.9" in running) == (True, True, True)
    planned.jobs[1].run.finish(RESULT)
    planned.jobs[2].run.fail("no more memory", ["seed=2"])
    view.look()
    console.print(view.bars)
    *_, first, second, bars = screen.getvalue().splitlines()
    assert first == "seed=1: mnist: test/acc 0.5000  test/loss 1.5000  on 10 test images"
    assert second == "seed=2: failed: no more memory"
    assert ("3/3" in bars, "1 failed" in bars) == (True, True)


@pytest.mark.parametrize("width", [30, 80])
def test_lines_and_bars_fit_a_narrow_terminal(width: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    long = plan(["model.padding=valid,same", "optimizer=rmsprop,adam", "hydra.sweep.dir=mine"])
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, color_system=None, width=width, highlight=False)
    view = View(long, console, epochs=5)
    long.jobs[0].run.finish(RESULT)
    with long.jobs[1].run.locked():
        write_atomically(long.jobs[1].run.metrics, b"epoch,step,train/acc,val/acc\n2,126,0.9,0.8\n")
        view.look()
        console.print(view.bars)
    *said, _, running = screen.getvalue().splitlines()
    assert len(running) <= width
    assert width == 30 or running.split()[-3:] == ["-:--:--", "val/acc", "0.8000"]  # none of them is cut off
    assert [line for line in said if line.startswith("  ")]
    assert max(len(line) for line in said if line.startswith("  ")) <= width


def test_an_error_ends_the_watching(planned: Plan) -> None:
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError), watch(planned, 5):
        raise ZeroDivisionError
    assert threading.active_count() == before
