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
    bad = [tmp_path / "missing.png", tmp_path / "text.png", tmp_path / "blank.png", tmp_path, tmp_path / ("a" * 300)]
    answer = cli(predict.main, trained.path, bad[0], pictures[0], *bad[1:], pictures[1])
    assert answer.status == 2
    assert [line.split()[0] for line in answer.out.splitlines()] == [str(pictures[0]), str(pictures[1])]
    for path, line in zip(bad, answer.err.splitlines(keepends=True), strict=True):
        assert one_line(line).startswith(f"error: {path} ")


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
    assert [(answer.digit, answer.error) for answer in answers] == [(answer.digit, answer.error) for answer in alone]
    for answer, same in zip(answers, alone, strict=True):
        assert answer.probability == pytest.approx(same.probability, abs=2e-6)  # written with 6 digits


def test_a_checkpoint_that_is_missing_is_one_line(tmp_path: Path, cli: Callable[..., Answer]) -> None:
    answer = cli(predict.main, tmp_path, "a.png")
    assert (answer.status, "there is no checkpoint" in one_line(answer.err)) == (2, True)
