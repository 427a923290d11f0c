import json
import shutil
from pathlib import Path
from unittest.mock import Mock

import pytest

from mnist_cnn.runs.trained import load_trained
from tests.conftest import Trained


@pytest.mark.parametrize("folder", ["C:\\Users\\me\\data", "/nobody/has/this", ""])
def test_the_data_of_another_machine_are_sought_where_this_one_has_them(
    folder: str, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(trained.path, tmp_path / "run")
    (tmp_path / "run" / "result.json").write_text(json.dumps({**trained.result, "data_dir": folder}))
    data = Mock()
    monkeypatch.setattr("mnist_cnn.runs.trained.MNISTDataModule", data)
    monkeypatch.delenv("MNIST_CNN_DATA", raising=False)
    load_trained(tmp_path / "run")
    load_trained(tmp_path / "run", Path("mine"))
    load_trained(trained.path)
    assert [str(call.args[0]) for call in data.call_args_list] == ["data", "mine", folder_of(trained)]
    assert not Path(folder or "missing").exists()


def folder_of(trained: Trained) -> str:
    """Where the run had its data, if there is such a folder."""
    folder = str(trained.result["data_dir"])
    return folder if Path(folder).is_dir() else "data"
