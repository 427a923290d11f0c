import io
import json
from collections.abc import Callable
from pathlib import Path

import pandas

from mnist_cnn import sweep
from mnist_cnn.runs.directory import Run
from mnist_cnn.settings import compose
from mnist_cnn.training.start import train
from tests.conftest import Answer, one_line
from tests.faults.configs import QUICK


def test_the_table_is_printed_in_each_format(tmp_path: Path, cli: Callable[..., Answer]) -> None:
    for padding in ("valid", "same"):
        run = Run(tmp_path / padding)
        run.path.mkdir()
        run.finish({"status": "complete", "overrides": [f"model.padding={padding}"], "test/acc": 0.5})
    text, data = cli(sweep.main, tmp_path), cli(sweep.main, tmp_path, "--json")
    assert text.out.startswith("model.padding  n  status")
    assert [row["model.padding"] for row in json.loads(data.out)] == ["same", "valid"]
    assert cli(sweep.main, tmp_path, "--csv").out.startswith("model.padding,n,status,parameters")
    assert cli(sweep.main, tmp_path, "--markdown").out.startswith("| model.padding | n | status")
    assert cli(sweep.main, tmp_path, "--sort", "test/acc").out.endswith("ranked by test/acc\n")


def test_what_cannot_be_compared_is_one_line(tmp_path: Path, cli: Callable[..., Answer]) -> None:
    answer = cli(sweep.main, tmp_path)
    assert (answer.status, one_line(answer.err)) == (
        2, f"error: {tmp_path} holds no runs: give the folder of a sweep\n"
    )  # fmt: skip


def test_each_run_is_a_row_that_pandas_reads(tmp_path: Path, cli: Callable[..., Answer]) -> None:
    for seed in (0, 1):
        train(compose(*QUICK, "data.train_size=64", f"seed={seed}"), Run(tmp_path / str(seed)))
    for kind, read in (((), pandas.read_csv), (("--json",), pandas.read_json)):
        answer = cli(sweep.main, tmp_path, "--runs", *kind)
        table = read(io.StringIO(answer.out))
        assert list(table["seed"]) == [0, 1]
        assert list(table["status"]) == ["complete"] * 2
        assert list(table["optimizer.lr"]) == [0.001] * 2
        assert table["test/acc"].dtype == float
