import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from mnist_cnn import load_classifier, predict
from mnist_cnn.data.datasets import Dataset
from tests.conftest import Answer, Trained, one_line


@pytest.fixture
def pictures(sample: Dataset, tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number:04}.png" for number in range(1000)]
    for path, image in zip(paths, sample.test.images, strict=True):
        Image.fromarray(image[0].numpy()).save(path)
    return paths


def test_pictures_of_the_test_images_are_answered_as_the_images(
    trained: Trained, sample: Dataset, pictures: list[Path], cli: Callable[..., Answer]
) -> None:
    answer = cli(predict.main, trained.path, *pictures, "--json")
    rows = [json.loads(line) for line in answer.out.splitlines()]
    expected = load_classifier(trained.path).predict(sample.test.images)
    assert [row["file"] for row in rows] == [str(path) for path in pictures]
    assert [row["digit"] for row in rows] == expected.digits.tolist()
    assert [row["probability"] for row in rows] == pytest.approx(expected.probabilities.amax(1).tolist(), abs=1e-5)
    assert answer.status == 0


def test_a_line_per_picture(trained: Trained, pictures: list[Path], cli: Callable[..., Answer]) -> None:
    file, digit, probability = cli(predict.main, trained.path, pictures[0]).out.split()
    assert file == str(pictures[0])
    assert digit in set("0123456789")
    assert 0.1 <= float(probability) <= 1


def test_bad_pictures_get_a_line_each_and_the_others_an_answer(
    trained: Trained, pictures: list[Path], tmp_path: Path, cli: Callable[..., Answer]
) -> None:
    (tmp_path / "text.png").write_text("hello")
    Image.new("L", (50, 50), 200).save(tmp_path / "blank.png")
    (tmp_path / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    (tmp_path / "empty").mkdir()
    names = ["missing.png", "text.png", "blank.png", "photo.heic", "empty", "a" * 300, "*.bmp"]
    bad = [tmp_path / name for name in names]
    answer = cli(predict.main, trained.path, bad[0], pictures[0], *bad[1:], pictures[1])
    assert answer.status == 2
    assert [line.split()[0] for line in answer.out.splitlines()] == [str(pictures[0]), str(pictures[1])]
    for path, line in zip(bad, answer.err.splitlines(keepends=True), strict=True):
        assert one_line(line).startswith(f"error: {path} ")


def test_a_folder_is_the_pictures_in_it_in_natural_order(tmp_path: Path) -> None:
    for name in ("10.png", "9.BMP", "scan 2.jpeg", "scan 11.tif", "a.heic", "labels.csv"):
        (tmp_path / name).touch()
    (tmp_path / "sub").mkdir()
    found = [Path(name).name for name in predict.find_pictures(str(tmp_path))]
    assert found == ["9.BMP", "10.png", "a.heic", "scan 2.jpeg", "scan 11.tif"]


def test_a_pattern_that_the_shell_did_not_expand_is_the_files_that_match(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("10.png", "9.png", "a.jpg", "[1].png"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    assert predict.find_pictures("?*.png") == ["9.png", "10.png", "[1].png"]
    assert predict.find_pictures(str(tmp_path / "1*.png")) == [str(tmp_path / "10.png")]
    assert predict.find_pictures("[1].png") == ["[1].png"]
    assert predict.find_pictures("*.gif") == ["*.gif"]


def test_csv_is_a_table_that_names_its_columns(
    trained: Trained, pictures: list[Path], tmp_path: Path, cli: Callable[..., Answer]
) -> None:
    odd = tmp_path / 'a "7", in ink.png'
    pictures[0].rename(odd)
    answer = cli(predict.main, trained.path, odd, tmp_path / "missing.png", pictures[1], "--csv")
    rows = list(csv.DictReader(io.StringIO(answer.out)))
    expected = list(predict.predict(str(trained.path), [str(odd), str(pictures[1])]))
    assert [tuple(row) for row in rows] == [("file", "digit", "probability", "unfamiliar")] * 2
    assert [(row["file"], int(row["digit"]), float(row["probability"]), row["unfamiliar"]) for row in rows] == [
        (each.file, each.shown, each.probability, str(each.unfamiliar)) for each in expected
    ]
    assert answer.status == 2


def test_in_batches_each_picture_is_answered_in_its_place_as_it_is_alone(
    trained: Trained, pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predict, "_BATCH", 4)
    missing = [str(tmp_path / f"missing {number}.png") for number in range(8)]
    good = list(map(str, pictures[::100]))
    files = [missing[0], *good[:3], missing[1], *good[3:5], *missing[2:], *good[5:]]  # 4 bad ones are a batch
    answers = list(predict.predict(str(trained.path), files))
    alone = [answer for file in files for answer in predict.predict(str(trained.path), [file])]
    assert [answer.file for answer in answers] == files
    assert [answer.file for answer in answers if answer.error is not None] == missing
    assert [(answer.shown, answer.error) for answer in answers] == [(answer.shown, answer.error) for answer in alone]
    for answer, same in zip(answers, alone, strict=True):
        assert answer.probability == pytest.approx(same.probability, abs=2e-6)  # written with 6 digits


def test_a_checkpoint_that_is_missing_is_one_line(tmp_path: Path, cli: Callable[..., Answer]) -> None:
    answer = cli(predict.main, tmp_path, "a.png")
    assert (answer.status, "there is no checkpoint" in one_line(answer.err)) == (2, True)
