"""Images of one's own: folders, CSV and NPZ files hold what was written; wrong ones are one line."""

import logging
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mnist_cnn.data import folder as module
from mnist_cnn.data.datasets import Dataset, sample
from mnist_cnn.data.own import read_own
from mnist_cnn.errors import InputError

SAMPLE = sample().test
MIXED = torch.arange(200) * 37 % 200 * 5  # of all classes: the sample is sorted by them
PIXELS, LABELS = SAMPLE.images[MIXED, 0].numpy(), SAMPLE.labels[MIXED].numpy()


def write_folder(folder: Path, pixels: np.ndarray = PIXELS, labels: np.ndarray = LABELS) -> Path:
    for number, (image, label) in enumerate(zip(pixels, labels, strict=True)):
        file = folder / f"class {label}" / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(file)
    return folder


def write_csv(file: Path) -> Path:
    table = np.column_stack([LABELS, PIXELS.reshape(len(PIXELS), -1)])
    header = ",".join(["label", *(f"pixel{number}" for number in range(784))])
    np.savetxt(file, table, fmt="%d", delimiter=",", header=header, comments="")
    return file


def as_pairs(data: Dataset) -> list[tuple[bytes, str]]:
    """Return all images with the names of their classes, sorted."""
    parts = [(image, data.classes[label]) for part in data[1:3] for image, label in zip(*part, strict=True)]
    return sorted((image.numpy().tobytes(), name.removeprefix("class ")) for image, name in parts)


def expected(pixels: np.ndarray = PIXELS, labels: np.ndarray = LABELS) -> list[tuple[bytes, str]]:
    return sorted((image.tobytes(), str(label)) for image, label in zip(pixels, labels, strict=True))


@pytest.mark.parametrize("reading", ["ink", "resize"])
def test_pictures_in_mnists_form_keep_every_byte(tmp_path: Path, reading: str) -> None:
    data = read_own(write_folder(tmp_path / "mine"), reading, 0.25)
    assert as_pairs(data) == expected()
    assert data.classes == tuple(f"class {digit}" for digit in range(10))
    assert data.name.startswith("mine-")
    held_out = data.test.labels.bincount(minlength=10) / torch.from_numpy(LABELS).bincount()
    assert 0.15 < held_out.min() <= held_out.max() < 0.35


def test_a_table_and_an_archive_hold_the_same_images(tmp_path: Path) -> None:
    train, test = slice(150), slice(150, None)
    arrays = {"x_train": PIXELS[train], "y_train": LABELS[train], "x_test": PIXELS[test], "y_test": LABELS[test]}
    np.savez(tmp_path / "mine.npz", **arrays)
    assert as_pairs(read_own(write_csv(tmp_path / "mine.csv"), "ink", 0.25)) == expected()
    data = read_own(tmp_path / "mine.npz", "ink", 0.25)
    assert as_pairs(data) == expected()
    assert np.array_equal(data.test.images[:, 0], PIXELS[150:])


def test_a_split_that_is_given_is_kept(tmp_path: Path) -> None:
    write_folder(tmp_path / "train", PIXELS[:150], LABELS[:150])
    write_folder(tmp_path / "test", PIXELS[150:], LABELS[150:])
    data = read_own(tmp_path, "ink", 0.25)
    assert as_pairs(data._replace(train=data.test)) == sorted(2 * expected(PIXELS[150:], LABELS[150:]))


def test_classes_are_in_natural_order(tmp_path: Path) -> None:
    write_folder(tmp_path, PIXELS[:24], np.arange(24) % 12)
    assert read_own(tmp_path, "resize", 0.5).classes[:3] == ("class 0", "class 1", "class 2")


def test_only_what_changed_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = read_own(write_folder(tmp_path), "ink", 0.25)
    (read := list[Path]()).clear()
    original = module.read_picture
    monkeypatch.setattr(module, "read_picture", lambda file, how: read.append(file) or original(file, how))
    assert read_own(tmp_path, "ink", 0.25).name == before.name
    assert not read
    changed = next(tmp_path.glob("class 7/*.png"))
    Image.fromarray(PIXELS[0][::-1]).save(changed)
    assert read_own(tmp_path, "ink", 0.25).name != before.name
    assert read == [changed]


def test_pictures_that_cannot_be_read_are_named_and_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_folder(tmp_path)
    Image.new("L", (28, 28)).save(tmp_path / "class 3" / "blank.png")
    (tmp_path / "class 4" / "torn.png").write_bytes(b"\x89PNG")
    (tmp_path / "class 4" / "notes.txt").write_text("no picture")
    with caplog.at_level(logging.WARNING):
        assert as_pairs(read_own(tmp_path, "ink", 0.25)) == expected()
    (message,) = caplog.messages
    assert "2 pictures" in message
    assert "blank.png" in message
    assert "torn.png" in message


def make_empty(folder: Path) -> None:
    write_folder(folder)
    (folder / "empty").mkdir()


def make_one_class(folder: Path) -> None:
    write_folder(folder, PIXELS[:5], np.zeros(5, int))


def make_flat(folder: Path) -> None:
    folder.mkdir()
    Image.fromarray(PIXELS[0]).save(folder / "0.png")


def make_new_in_test(folder: Path) -> None:
    write_folder(folder / "train", PIXELS[:20], np.arange(20) % 2)
    write_folder(folder / "test", PIXELS[:20], np.arange(20) % 3)


def make_third_part(folder: Path) -> None:
    for part in ("train", "test", "val"):
        write_folder(folder / part, PIXELS[:20], np.arange(20) % 2)


def make_other_split(folder: Path) -> None:
    for part in ("Train", "val"):
        write_folder(folder / part, PIXELS[:20], np.arange(20) % 2)


def make_single(folder: Path) -> None:
    write_folder(folder, PIXELS[:5], np.array([0, 0, 1, 1, 2]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: None, "does not exist"),
        (make_empty, "class empty has no pictures"),
        (make_one_class, "has 1 classes: expected 2 to 1,000"),
        (make_flat, "has no folders: expected a folder of pictures per class"),
        (make_new_in_test, "class class 2 has test images, but none to train on"),
        (make_third_part, "contains val/ next to train/ and test/"),
        (make_single, "class class 2 has a single picture"),
        (make_other_split, "contains Train, val with the same folders: call them train and test"),
        (lambda folder: folder.write_text("no"), "is not a folder, nor a .csv or .npz file"),
    ],
)
def test_a_wrong_folder_is_one_line(tmp_path: Path, make: Callable[[Path], None], message: str) -> None:
    make(tmp_path / "mine")
    with pytest.raises(InputError, match=message):
        read_own(tmp_path / "mine", "ink", 0.25)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"label,pixel0\n1,2\n", "has 2 columns: expected a label and 784 pixels"),
        ("a.csv", b"one,two\nthree,four\n", "is not a table of numbers"),
        ("a.npz", b"PK", "cannot be read"),
        ("a.csv", b"", "has no rows"),
        ("a.csv", b"pixel0,label\n1,2\n", "has its labels in the last column"),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_own(tmp_path / name, "ink", 0.25)


def test_wrong_arrays_are_one_line(tmp_path: Path) -> None:
    whole = {"x_train": PIXELS, "y_train": LABELS, "x_test": PIXELS, "y_test": LABELS}
    for arrays, message in (
        ({"x_train": PIXELS}, "lacks an array"),
        (whole | {"x_train": PIXELS / 255}, "expected whole numbers of 0 to 255 as pixels, not float64"),
        (whole | {"x_train": PIXELS // 128}, "multiply them by 255"),
        (whole | {"x_train": PIXELS[:, :9]}, "expected images of 28x28 pixels, not of shape"),
        (whole | {"y_train": LABELS[1:]}, "expected one label per image"),
        (whole | {"y_train": LABELS.astype(object)}, "cannot be read"),
    ):
        np.savez(tmp_path / "a.npz", **arrays)
        with pytest.raises(InputError, match=message):
            read_own(tmp_path / "a.npz", "ink", 0.25)


def test_resizing_pads_to_a_square_and_keeps_the_tone(tmp_path: Path) -> None:
    Image.new("RGB", (100, 50), (200, 200, 200)).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        image.paste((10, 10, 10), (40, 20, 60, 30))
        image.save(tmp_path / "a.png")
    pixels = module.read_picture(tmp_path / "a.png", "resize")
    assert pixels.shape == (28, 28)
    assert (pixels[[0, -1]] == 200).all()
    assert pixels[14, 14] < 60


def test_each_class_gives_its_share_and_names_count(tmp_path: Path) -> None:
    labels = np.array([0] * 10 + [1] * 3 + [2] * 2)
    first = read_own(write_folder(tmp_path / "a", PIXELS[:15], labels), "resize", 0.2)
    assert first.test.labels.bincount().tolist() == [2, 1, 1]
    (tmp_path / "a" / "class 2").rename(tmp_path / "a" / "class 3")
    assert read_own(tmp_path / "a", "resize", 0.2).name != first.name


def test_a_link_to_nothing_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (write_folder(tmp_path) / "class 3" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    assert as_pairs(read_own(tmp_path, "ink", 0.25)) == expected()
    assert "gone.png does not exist" in caplog.text


def test_a_picture_of_the_same_size_and_time_is_read_again(tmp_path: Path) -> None:
    def write_and_read(first: int) -> str:
        for number in range(8):
            file = tmp_path / f"{number % 2}" / f"{number}.bmp"
            file.parent.mkdir(exist_ok=True)
            Image.fromarray(PIXELS[first + number]).save(file)
            os.utime(file, (1.6e9, 1.6e9))
        return read_own(tmp_path, "resize", 0.25).name

    assert write_and_read(0) != write_and_read(1)
