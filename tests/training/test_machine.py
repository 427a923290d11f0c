import subprocess
from pathlib import Path

from mnist_cnn.runs.directory import Run
from mnist_cnn.settings import compose
from mnist_cnn.training.machine import commit_of
from mnist_cnn.training.start import train
from tests.recipes import TINY


def test_the_result_says_where_it_was_computed(tmp_path: Path) -> None:
    result = train(compose(*TINY), Run(tmp_path))
    assert result["device"] == "cpu"
    assert result["device_name"]
    assert result["versions"].keys() == {
        "python", "mnist_cnn", "torch", "torchvision", "lightning", "torchmetrics", "hydra-core",
    }  # fmt: skip


def test_the_commit_is_that_of_a_checkout_and_says_if_files_differ(tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    git = ("git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@y.z")
    for command in (("init", "-q"), ("add", "-A"), ("commit", "-q", "--allow-empty", "-m", "x")):
        subprocess.run([*git, *command], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout
    assert commit_of(tmp_path) == head[:12]
    assert commit_of(tmp_path / "package") is None  # installed into somebody's checkout
    (tmp_path / "file").touch()
    subprocess.run([*git, "add", "-A"], check=True)
    assert commit_of(tmp_path) == f"{head[:12]}-dirty"
