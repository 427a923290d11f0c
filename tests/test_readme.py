"""The README tells the truth: its blocks run, in their order, on a machine that reaches no mirror."""

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from mnist_cnn.data.datasets import Dataset
from tests.commands import Command
from tests.conftest import posix
from tests.data.test_own import write_folder

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(sh|python)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
BY_CI = [code.strip() for kind, code in BLOCKS if kind == "sh" and re.match("pip install -e .* && ", code)]

NOTEBOOK = "from tests.keras.models import build\nmodel = build()\n"  # what stands before, in Keras


def test_the_two_commands_are_what_ci_runs() -> None:
    assert len(BY_CI) == 2
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    assert all(command in lines for command in BY_CI)


def commands(kind: str, code: str) -> Iterator[list[str]]:
    """Yield the arguments that a block gives to python. Everything is installed already."""
    if kind == "python":
        yield ["-c", NOTEBOOK + code if code.startswith("model.") else code]
        return
    for line in re.sub(r"pip install -e \S+( && |\n)", "", code).splitlines():
        python, *arguments = shlex.split(line, comments=True)
        assert python == "python"
        yield arguments


@posix
@pytest.mark.long
def test_every_block_runs(tmp_path: Path, sample: Dataset) -> None:
    offline = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")  # nobody listens there
    environment = {**os.environ, **offline}
    for name in ("MNIST_CNN_DATA", "MNIST_CNN_MIRROR"):
        environment.pop(name, None)
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    write_folder(tmp_path / "PICTURES", sample.test.images[:, 0].numpy(), sample.test.labels.numpy())
    ran = 0
    for kind, code in BLOCKS:
        if "pytest" in code:
            continue  # .ci/run runs it
        for command in commands(kind, code):
            process = Command(*command, cwd=tmp_path, env=environment)
            said = process.communicate()
            assert process.returncode == 0, f"{command}\n{said}"
        ran += 1
    assert ran == len(BLOCKS) - 1 >= 7
    assert len(list(tmp_path.glob("outputs/sweeps/*/*/result.json"))) == 4
    assert (tmp_path / "outputs" / "mine" / "result.json").is_file()
