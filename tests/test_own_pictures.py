"""Your own pictures from end to end: trained, tested, shown, exported and named; wrong ones are one line."""

import json
from collections.abc import Callable
from pathlib import Path

import onnxruntime
import pytest
from PIL import Image, ImageDraw, ImageFont

from mnist_cnn import evaluate, export, page, predict, report, train
from mnist_cnn.keras import __main__ as keras
from mnist_cnn.runs.directory import Run
from tests.conftest import Answer, one_line

LETTERS = "ABXZ"
TRAIN = ("trainer.max_epochs=4", "trainer=cpu", "threads=1", "model.channels=[8,16]", "data.batch_size=8")


def draw(letter: str, shift: int = 0, size: int = 60) -> Image.Image:
    image = Image.new("L", (96, 96), 255)
    ImageDraw.Draw(image).text((44 + shift, 48), letter, 0, ImageFont.load_default(size), anchor="mm")
    return image


@pytest.fixture(scope="module")
def letters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("letters")
    for letter in LETTERS:
        for number in range(10):
            file = folder / letter / f"{number}.png"
            file.parent.mkdir(exist_ok=True)
            draw(letter, number % 5, 50 + 2 * number).save(file)
    return folder


def test_letters_from_a_folder_to_every_command(
    letters: Path, tmp_path: Path, cli: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = cli(train.command, "data=folder", f"data.dir={letters}", "hydra.run.dir=run", *TRAIN)
    assert answer.status == 0, answer.err
    result = Run(tmp_path / "run").result()
    assert result["dataset"].startswith(letters.name)
    assert result["class_accuracy"].keys() == {*LETTERS}
    assert result["test/acc"] == result["test/f1"] == 1
    tested = json.loads(cli(evaluate.main, "run", "--json", "--device", "cpu").out)
    assert (tested["dataset"], tested["test/loss"]) == (result["dataset"], result["test/loss"])
    draw("Z", 3).save("a.png")
    assert cli(predict.main, "run", "a.png").out.startswith("a.png  Z  ")
    assert json.loads(cli(predict.main, "run", "a.png", "--json").out)["label"] == "Z"
    assert cli(predict.main, "run", "missing.png", "a.png", "--csv").out.splitlines()[1:] != []
    for command in (report, page):
        assert cli(command.main, "run").status == 0
    html = (tmp_path / "run" / "page.html").read_text()
    assert '"classes": ["A", "B", "X", "Z"]' in html
    for text in (html, (tmp_path / "run" / "report.html").read_text()):
        assert "digit" not in text.partition("<script>")[0]
    assert cli(export.main, "run", "a.onnx").status == 0
    kept = onnxruntime.InferenceSession("a.onnx").get_modelmeta().custom_metadata_map
    assert json.loads(kept["classes"]) == [*LETTERS]
    assert cli(keras.main, "export", "run", "a.keras").status == 0
    assert "classes 4" in cli(keras.main, "import", "a.keras", "b.ckpt").out
    assert cli(predict.main, "b.ckpt", "a.png").out.startswith("a.png  3  ")


def test_a_changed_folder_is_other_data(letters: Path, tmp_path: Path, cli: Callable[..., Answer]) -> None:
    run = (f"data.dir={letters}", f"hydra.run.dir={tmp_path}", *TRAIN, "trainer.max_epochs=1")
    assert cli(train.command, "data=folder", *run).status == 0
    (letters / "A" / "new.png").write_bytes((letters / "B" / "0.png").read_bytes())
    answer = cli(train.command, "data=folder", *run, "trainer.max_epochs=2")
    (letters / "A" / "new.png").unlink()
    assert answer.status == 2
    assert "cannot be resumed: it was trained with dataset=" in one_line(answer.err)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data=folder"], "data.dir"),
        (["data=folder", "data.dir=nowhere"], "data.dir=nowhere does not exist"),
        (["data.name=folder"], "data.dir=data does not exist"),
        (["data=folder", "data.dir=.", "data.test_size=0.9"], "data.test_size=0.9 cannot be used"),
        (["data=folder", "data.dir=.", "data.reading=photo"], "data.reading=photo is not known"),
        (["class_weights=yes"], "class_weights="),
        (["monitor=train/loss"], "monitor=train/loss is not known"),
    ],
)
def test_wrong_settings_are_one_line(
    overrides: list[str], message: str, cli: Callable[..., Answer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MNIST_CNN_DATA", raising=False)
    answer = cli(train.command, *overrides, *TRAIN)
    assert answer.status == 2
    assert message in one_line(answer.err)
    assert not [*tmp_path.rglob("*.ckpt")]


def test_an_evaluation_reads_pictures_as_the_training_did(tmp_path: Path, cli: Callable[..., Answer]) -> None:
    """Resized, with another share for the test than the usual; from a file; and not at all once they have changed."""
    for name, tone in (("dark", 40), ("light", 200)):
        for number in range(8):
            file = tmp_path / "tones" / name / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            image = Image.new("L", (40, 30), tone + number)
            image.putpixel((number, 3), 90)
            image.save(file)
    run = ("data.reading=resize", "data.test_size=0.5", f"hydra.run.dir={tmp_path / 'run'}", *TRAIN)
    assert cli(train.command, "data=folder", f"data.dir={tmp_path / 'tones'}", *run).status == 0
    tested = json.loads(cli(evaluate.main, tmp_path / "run", "--json", "--device", "cpu").out)
    result = Run(tmp_path / "run").result()
    assert {key: tested[key] for key in ("test_images", "test/loss")} == {
        "test_images": 8,
        "test/loss": result["test/loss"],
    }
    (tmp_path / "tones" / "dark" / "0.png").unlink()
    assert "has changed since the training" in one_line(cli(evaluate.main, tmp_path / "run").err)
    assert cli(evaluate.main, tmp_path / "run", "--data-dir", tmp_path / "tones").status == 0


def test_a_run_of_a_file_is_evaluated_from_any_folder(
    tmp_path: Path, cli: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [[label, *([10 * label] * 784)] for label in (3, 5) * 6]
    (tmp_path / "mine.csv").write_text("\ufeff" + "\n".join(",".join(map(str, row)) for row in rows))
    assert cli(train.command, "data=folder", "data.dir=mine.csv", "hydra.run.dir=run", *TRAIN).status == 0
    assert Run(tmp_path / "run").result()["test_images"] == 2
    monkeypatch.chdir("/")
    assert cli(evaluate.main, tmp_path / "run").status == 0


def test_a_run_resumes_when_what_it_started_from_is_gone(
    tmp_path: Path, cli: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = ("data.name=sample", "data.train_size=64", *TRAIN)
    assert cli(train.command, *run, "hydra.run.dir=outputs/first").status == 0
    again = ("start_from=outputs/latest", "hydra.run.dir=outputs/second", *run)
    assert cli(train.command, *again, "trainer.max_epochs=1").status == 0
    answer = cli(train.command, *again, "trainer.max_epochs=2")  # outputs/latest is this run by now
    assert answer.status == 0, answer.err
    assert len(Run(tmp_path / "outputs" / "second").rows()) == 2
