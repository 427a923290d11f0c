import gzip
import hashlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torchvision

from mnist_cnn.data import datasets, download
from mnist_cnn.data.datasets import fetch, hold_out, is_complete, read
from mnist_cnn.data.download import Unreachable, checked_mirrors
from mnist_cnn.errors import InputError
from tests.faults import site
from tests.faults import sources as faults


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[Path]:
    """A folder with the sample in MNIST's four files; torchvision's list names these, and no mirror."""
    with site.small_mnist(tmp_path / "mirror"):
        yield tmp_path / "mirror"


@pytest.fixture
def served(mirror: Path) -> Iterator[site.Site]:
    server = site.Site(mirror)
    yield server
    server.close()


def test_qmnists_wider_labels_and_longer_test_file_are_read(
    tmp_path: Path, sample: datasets.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = torch.stack([sample.test.labels] + [torch.zeros(1000, dtype=torch.int64)] * 7, dim=1)
    wide = bytes([0, 0, 12, 2]) + (1000).to_bytes(4, "big") + (8).to_bytes(4, "big")
    files = {"images": site.idx(sample.test.images[:, 0]), "labels": wide + labels.numpy().astype(">i4").tobytes()}
    resources = {}
    for part in ("train", "test"):
        for kind, content in files.items():
            (tmp_path / f"{part}-{kind}.gz").write_bytes(gzip.compress(content))
            md5 = hashlib.md5((tmp_path / f"{part}-{kind}.gz").read_bytes()).hexdigest()
            resources.setdefault(part, []).append((f"http://127.0.0.1:9/{part}-{kind}.gz", md5))
    monkeypatch.setattr(datasets, "_family", lambda _: SimpleNamespace(mirrors=["unused"], resources=resources))
    monkeypatch.setitem(datasets.TEST_IMAGES, "qmnist", 900)
    fetch("qmnist", tmp_path, [tmp_path.as_uri()])
    qmnist = read("qmnist", tmp_path)
    assert torch.equal(qmnist.train.labels, sample.test.labels)
    assert torch.equal(qmnist.test.images, sample.test.images[:900])
    assert torch.equal(qmnist.test.labels, sample.test.labels[:900])


def test_files_come_from_a_folder_and_read_as_torchvision_reads_them(
    mirror: Path, tmp_path: Path, sample: datasets.Dataset
) -> None:
    fetch("mnist", tmp_path, [mirror.as_uri()])
    ours, theirs = read("mnist", tmp_path), torchvision.datasets.MNIST(tmp_path, train=False)
    assert torch.equal(ours.train.images, sample.train.images)
    assert torch.equal(ours.test.images[:, 0], theirs.data)
    assert torch.equal(ours.test.labels, theirs.targets)


def test_files_come_over_http_and_once(tmp_path: Path, served: site.Site) -> None:
    fetch("mnist", tmp_path, [served.url("good")])
    fetch("mnist", tmp_path, [served.url("good")])
    assert served.asked == site.FILES


@pytest.mark.parametrize("way", site.BAD_WAYS)
def test_a_mirror_that_fails_is_named_with_its_reason(
    way: str, tmp_path: Path, served: site.Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "_TIMEOUT", 0.2)
    with pytest.raises(Unreachable, match=f"train-images-idx3-ubyte.gz could not be fetched: {served.url(way)}.*: "):
        fetch("mnist", tmp_path / "data", [served.url(way)])


def test_every_fault_of_a_server_or_a_folder_is_refused_or_healed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "_TIMEOUT", 0.2)
    cases = list(faults.cases(tmp_path))
    assert len(cases) > 40
    assert not [case for case in cases if case.wrong]


def test_a_damaged_extracted_file_needs_no_source(mirror: Path, tmp_path: Path) -> None:
    fetch("mnist", tmp_path, [mirror.as_uri()])
    (tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte").write_bytes(b"")
    fetch("mnist", tmp_path)
    assert is_complete("mnist", tmp_path)


@pytest.mark.parametrize(
    "mirrors", ["ftp://127.0.0.1/", "mnist", ["/data/mnist"], ["http://[x/"], ["http://ü/"], None, [1]]
)
def test_mirrors_must_be_urls_of_a_known_kind(mirrors: object) -> None:
    with pytest.raises(InputError, match="give http, https or file URLs"):
        checked_mirrors(mirrors)


def test_one_mirror_may_stand_alone() -> None:
    assert checked_mirrors("file:///data/") == checked_mirrors(["file:///data/"]) == ["file:///data/"]


def test_what_cannot_be_fetched_leaves_no_folders(tmp_path: Path, mirror: Path) -> None:
    with pytest.raises(Unreachable):
        fetch("mnist", tmp_path / "new" / "data", ["http://127.0.0.1:9/"])
    assert not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_written_is_said(mirror: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    for folder in (tmp_path / "file", tmp_path / ("long" * 100)):
        assert not is_complete("mnist", folder)
        with pytest.raises(InputError, match=r"data\.dir=.* cannot be written"):
            fetch("mnist", folder, [mirror.as_uri()])


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "kmnist", "qmnist"])
def test_every_data_set_has_four_files_with_their_md5(name: str) -> None:
    archives = datasets._archives(name)
    assert [("images" in archive.name, "train" in archive.name) for archive in archives] == [
        (True, True),
        (False, True),
        (True, False),
        (False, False),
    ]
    assert all(len(archive.digest) == 32 and archive.mirrors for archive in archives)


def test_the_sample_has_4000_and_1000_real_images_of_all_digits(sample: datasets.Dataset) -> None:
    assert sample.name == "mnist-sample"
    assert sample.train.labels.bincount().tolist() == [400] * 10
    assert sample.test.labels.bincount().tolist() == [100] * 10
    together = torch.cat([sample.train.images, sample.test.images]).flatten(1)
    assert len(together.unique(dim=0)) == 5000  # none is in both


@pytest.mark.full
def test_the_sample_is_part_of_mnists_training_images(sample: datasets.Dataset, mnist_dir: Path) -> None:
    everything = {image.numpy().tobytes() for image in read("mnist", mnist_dir).train.images}
    assert all(image.numpy().tobytes() in everything for image in sample.test.images)


def test_hold_out_takes_each_class_by_its_share() -> None:
    labels = torch.tensor([0] * 60 + [1] * 30 + [2] * 10)[torch.randperm(100)]
    kept, held = hold_out(labels, 10, seed=0)
    assert labels[held].bincount().tolist() == [6, 3, 1]
    assert torch.equal(torch.cat([kept, held]).sort().values, torch.arange(100))
    assert len(hold_out(labels, 0, seed=0)[1]) == 0
