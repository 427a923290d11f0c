"""python -m mnist_cnn.export: a line of output and a whole file, or a line of error and none."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
import yaml

import mnist_cnn
from mnist_cnn import export
from mnist_cnn.data.datasets import Dataset
from mnist_cnn.exporting import formats, metadata, run_export
from mnist_cnn.runs.checkpoint import load_classifier
from tests.conftest import Answer, Trained, one_line


@pytest.mark.parametrize("name", ["digits.pt2", "digits.safetensors"])
def test_an_existing_file_is_replaced_and_one_line_says_what_was_checked(
    name: str, trained: Trained, tmp_path: Path, cli: Callable[..., Answer]
) -> None:
    (tmp_path / name).write_text("old")
    answer = cli(export.main, trained.path, tmp_path / name)
    assert (answer.status, answer.err, answer.out.count("\n")) == (0, "", 1)
    size = (tmp_path / name).stat().st_size
    card = [tmp_path / "MODEL_CARD.md"] if name.endswith("safetensors") else []
    assert size > 400_000  # 104,202 weights, inside
    assert f"{size:,} bytes" in answer.out
    assert "1,000 test images of mnist-sample: the same digits as torch" in answer.out
    assert sorted(tmp_path.iterdir()) == sorted([tmp_path / name, *card])


@pytest.fixture(scope="session")
def onnx_file(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("onnx") / "digits.onnx"
    file.write_text("old")
    export.main([str(trained.path), str(file)])
    return file


@pytest.mark.parametrize("batch", [1, 7])
def test_onnxruntime_gives_the_logits_of_the_run(
    batch: int, onnx_file: Path, trained: Trained, sample: Dataset
) -> None:
    assert list(onnx_file.parent.iterdir()) == [onnx_file]  # the weights are inside
    assert str(Path(export.__file__).parent).encode() not in onnx_file.read_bytes()
    images = sample.test.images[:batch]
    session = onnxruntime.InferenceSession(onnx_file, providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"images": images.float().numpy() / 255})
    with torch.no_grad():
        expected = load_classifier(trained.path)(images)
    torch.testing.assert_close(torch.from_numpy(logits), expected, atol=1e-4, rtol=1e-5)


def test_the_card_has_the_figures_of_the_run_and_its_code_runs(
    trained: Trained, tmp_path: Path, cli: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli(export.main, trained.path, tmp_path / "a.safetensors").status == 0
    card, result = (tmp_path / "MODEL_CARD.md").read_text(), json.loads((trained.path / "result.json").read_text())
    assert f"| test/acc | {result['test/acc']} | 1,000 test images |" in card
    assert f"| test/loss | {result['test/loss']} | 1,000 test images |" in card
    assert f"{result['epochs']} epochs, {result['steps']} steps" in card
    assert "python -m mnist_cnn.train data.name=sample\n" in card
    assert "| `model.channels` | `[32,64,128]` |" in card
    assert "None" not in card
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names: dict[str, torch.Tensor] = {}
    exec(code, names)
    assert names["labels"].shape == (1,)


def hub_metadata(card: str) -> dict[str, Any]:
    """Read the YAML as the Hub does."""
    empty, metadata, text = card.split("---\n", 2)
    assert empty == ""
    assert text.startswith("\n# ")
    return dict(yaml.safe_load(metadata))


def test_a_folder_is_what_the_hub_takes(trained: Trained, tmp_path: Path, cli: Callable[..., Answer]) -> None:
    hub = tmp_path / "digits"
    answer = cli(export.main, trained.path, f"{hub}/")
    assert (answer.status, answer.err, answer.out.count("\n")) == (0, "", 2)
    assert {file.name for file in hub.iterdir()} == {"README.md", "model.safetensors", "model.onnx"}
    card = (hub / "README.md").read_text()
    assert "load_file('model.safetensors')" in card
    assert "`model.onnx` has the same network" in card
    found = hub_metadata(card)
    assert (found["license"], found["library_name"], found["pipeline_tag"]) == (
        "unknown", "pytorch", "image-classification"
    )  # fmt: skip
    (model,) = found["model-index"]
    (result,) = model["results"]
    assert (model["name"], result["dataset"]["name"], result["dataset"]["split"]) == ("digits", "mnist-sample", "test")
    assert [(each["type"], each["value"]) for each in result["metrics"]] == [("accuracy", trained.result["test/acc"])]
    assert "datasets" not in found  # the Hub has no data set of that name


def test_the_hub_s_own_data_sets_are_linked() -> None:
    result = {"test/acc": 0.99}
    found = hub_metadata(metadata.hub_metadata("a", "mit", "mnist", result) + "\n# a\n")
    assert found["datasets"] == ["ylecun/mnist"]
    assert found["model-index"][0]["results"][0]["dataset"]["type"] == "ylecun/mnist"
    assert found["metrics"] == ["accuracy"]


def test_the_licence_is_the_user_s_and_is_kept(trained: Trained, tmp_path: Path, cli: Callable[..., Answer]) -> None:
    for given, expected in (((), "unknown"), (("--license", "cc-by-4.0"), "cc-by-4.0"), ((), "cc-by-4.0")):
        assert cli(export.main, trained.path, tmp_path / "a.safetensors", *given).status == 0
        card = (tmp_path / "MODEL_CARD.md").read_text()
        assert hub_metadata(card)["license"] == expected
        assert ("Not chosen yet" in card) is (expected == "unknown")


def test_a_card_of_an_earlier_version_is_replaced(trained: Trained, tmp_path: Path, cli: Callable[..., Answer]) -> None:
    (tmp_path / "MODEL_CARD.md").write_text("# a.safetensors\n\n## What\n")
    assert cli(export.main, trained.path, tmp_path / "a.safetensors").status == 0


def test_onnx_says_what_images_and_classes_it_has_and_how_well_it_does(onnx_file: Path, trained: Trained) -> None:
    session = onnxruntime.InferenceSession(onnx_file, providers=["CPUExecutionProvider"])
    found = session.get_modelmeta().custom_metadata_map
    assert json.loads(found["classes"]) == [*"0123456789"]
    assert (found["range"], found["polarity"]) == ("0-1", "light ink on a dark background")
    assert (float(found["accuracy"]), found["test_images"]) == (trained.result["test/acc"], "1000")
    assert found["version"] == f"mnist_cnn {mnist_cnn.__version__}"


def test_a_checkpoint_that_is_not_the_last_of_a_run_has_no_figures(
    trained: Trained, tmp_path: Path, cli: Callable[..., Answer]
) -> None:
    copy = tmp_path / "copy.ckpt"
    copy.write_bytes((trained.path / "checkpoints" / "last.ckpt").read_bytes())
    assert cli(export.main, copy, tmp_path / "a.safetensors").status == 0
    card = (tmp_path / "MODEL_CARD.md").read_text()
    assert "test/acc" not in card
    assert not {"model-index", "metrics"} & hub_metadata(card).keys()
    assert card.count("These weights are not the last ones of a complete run") == 2


def test_when_the_check_fails_nothing_is_left_and_the_status_is_1(
    trained: Trained, tmp_path: Path, cli: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = formats.FORMATS[".safetensors"]
    wrong = other._replace(read=lambda *given: lambda images: other.read(*given)(images * (255 / 256)))
    monkeypatch.setitem(formats.FORMATS, ".safetensors", wrong)
    answer = cli(export.main, trained.path, tmp_path / "a.safetensors")
    assert answer.status == 1
    assert "does not compute what torch computes" in one_line(answer.err)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", ["weights", "card"])
def test_on_a_full_disk_nothing_is_left(
    content: str, trained: Trained, tmp_path: Path, cli: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    write = run_export.write_atomically

    def fail(path: Path, data: bytes) -> None:
        if (path.name == "MODEL_CARD.md") == (content == "card"):
            raise OSError(28, "No space left on device", str(path))
        write(path, data)

    monkeypatch.setattr(run_export, "write_atomically", fail)
    answer = cli(export.main, trained.path, tmp_path / "a.safetensors")
    assert answer.status == 1
    assert "No space left on device" in one_line(answer.err)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{run}", "{folder}/a.pth"], "a.pth cannot be written: give a name that ends in .onnx, .pt2, .safetensors"),
        (["{run}", "{folder}/a.safetensors", "--uint8"], "--uint8 cannot be used"),
        (["{folder}/none", "{folder}/a.pt2"], "there is no checkpoint"),
        (["{folder}/d.onnx/text.ckpt", "{folder}/a.pt2"], "text.ckpt"),
        (["{run}", "{folder}/d.onnx"], "d.onnx is a folder: give the name of a file"),
        (["{run}", "{folder}/a.safetensors"], "MODEL_CARD.md is not the card of a.safetensors"),
        (["{run}", "/proc/a.pt2"], "/proc/a.pt2 cannot be written"),
        (["{run}", "{folder}/new"], "new cannot be written: give a name that ends in"),
        (["{run}", "{folder}/"], "README.md is not the card of "),
        (["{run}", "{folder}/other/", "--uint8"], "--uint8 cannot be used for"),
        (["{run}", "{folder}/a.pt2", "--license", "my own"], "--license my own is not one of the Hub's names"),
    ],
)
def test_arguments_that_cannot_be_used_give_one_line(
    arguments: list[str], message: str, trained: Trained, tmp_path: Path, cli: Callable[..., Answer]
) -> None:
    (tmp_path / "d.onnx").mkdir()
    (tmp_path / "d.onnx" / "text.ckpt").write_text("hello")
    for name in ("MODEL_CARD.md", "README.md"):
        (tmp_path / name).write_text("# My own card\n")
    answer = cli(export.main, *[part.format(run=trained.path, folder=tmp_path) for part in arguments])
    assert (answer.status, answer.out) == (2, "")
    assert message in one_line(answer.err)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["MODEL_CARD.md", "README.md", "d.onnx"]


@pytest.mark.parametrize(
    ("package", "out"),
    [("onnx", "a.onnx"), ("onnxscript", "a.onnx"), ("onnxruntime", "a.onnx"), ("safetensors", "a.safetensors")],
)
def test_a_missing_package_is_named_with_the_command_that_installs_it(
    package: str, out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Callable[..., Answer]
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    answer = cli(export.main, "run", tmp_path / out)
    suffix = Path(out).suffix
    expected = f'error: {suffix} files need {package}: pip install "mnist_cnn[export]"\n'
    assert (answer.status, answer.err) == (2, expected)


def test_help_and_wrong_names_do_not_import_torch() -> None:
    code = (
        "import sys; from mnist_cnn.export import main; from mnist_cnn.errors import InputError\n"
        "for arguments in (['--help'], ['run', 'a.pth'], ['none', 'a.pt2']):\n"
        "    try: main(arguments)\n"
        "    except (SystemExit, InputError): print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert [line for line in done.stdout.splitlines() if line in ("True", "False")] == ["False"] * 3
