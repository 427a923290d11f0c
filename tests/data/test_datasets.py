import gzip
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torchvision

from mnist_cnn.data import datasets, download
from mnist_cnn.data.datasets import fetch, is_complete, read
from mnist_cnn.data.download import Unreachable, md5
from mnist_cnn.errors import InputError
from mnist_cnn.settings import compose
from tests.faults import site
from tests.faults import sources as faults


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the sample as MNIST's four files, which torchvision lists. torchvision's mirror does not answer."""
    folder = tmp_path_factory.mktemp("mirror") / "files"
    with site.small_mnist(folder):
        yield folder


@pytest.fixture
def server(mirror: Path) -> Iterator[site.Site]:
    server = site.Site(mirror)
    yield server
    server.close()


def test_images_and_labels_are_those_of_the_mirror(mirror: Path, tmp_path: Path, sample: datasets.Dataset) -> None:
    fetch("mnist", tmp_path, [mirror.as_uri()])
    name, *parts, classes = read("mnist", tmp_path)
    assert (name, classes) == ("mnist", tuple("0123456789"))
    for part, expected in zip(parts, (sample.train, sample.test), strict=True):
        assert torch.equal(part.images, expected.images)
        assert torch.equal(part.labels, expected.labels)


@pytest.mark.parametrize("train", [True, False])
def test_torchvision_reads_the_same_images_without_a_network(train: bool, mirror: Path, tmp_path: Path) -> None:
    fetch("mnist", tmp_path, [mirror.as_uri()])
    ours = read("mnist", tmp_path)
    theirs = torchvision.datasets.MNIST(tmp_path, train=train, download=True)
    assert torch.equal(theirs.data, (ours.train if train else ours.test).images[:, 0])
    assert torch.equal(theirs.targets, (ours.train if train else ours.test).labels)


def test_files_that_are_there_are_not_downloaded_again(tmp_path: Path, server: site.Site) -> None:
    for _ in range(2):
        fetch("mnist", tmp_path, [server.url("good")])
    assert server.asked == [("good", name) for name in site.FILES]
    assert {file.name for file in (tmp_path / "MNIST" / "raw").iterdir()} <= {*site.FILES, ".lock"}


def test_given_mirrors_are_asked_before_torchvisions(
    mirror: Path, tmp_path: Path, server: site.Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [server.url("good")])
    fetch("mnist", tmp_path / "given", [mirror.as_uri()])
    assert server.asked == []
    fetch("mnist", tmp_path / "torchvision's")
    assert len(server.asked) == 4


@pytest.mark.parametrize("damage", [None, *faults.DAMAGES.values()])
def test_a_missing_or_damaged_file_is_not_read(damage: object, mirror: Path, tmp_path: Path) -> None:
    fetch("mnist", tmp_path, [mirror.as_uri()])
    assert is_complete("mnist", tmp_path)
    file = tmp_path / "MNIST" / "raw" / "t10k-labels-idx1-ubyte.gz"
    content = file.read_bytes()
    file.unlink()
    if callable(damage):
        file.write_bytes(damage(content))
    assert not is_complete("mnist", tmp_path)
    with pytest.raises(InputError, match=f"data.dir={tmp_path} does not hold all files of mnist"):
        read("mnist", tmp_path)


@pytest.mark.parametrize("unpacked", [False, True])
@pytest.mark.parametrize("folder", ["MNIST/raw", "raw", "."])
def test_files_are_found_in_the_folder_itself_and_uncompressed(
    folder: str, unpacked: bool, mirror: Path, tmp_path: Path, sample: datasets.Dataset
) -> None:
    (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    for name in site.FILES:
        content = (mirror / name).read_bytes()
        file = tmp_path / folder / (name.removesuffix(".gz") if unpacked else name)
        file.write_bytes(gzip.decompress(content) if unpacked else content)
    assert is_complete("mnist", tmp_path)
    found = read("mnist", tmp_path)
    assert torch.equal(found.test.images, sample.test.images)
    assert torch.equal(found.train.labels, sample.train.labels)
    file.write_bytes(file.read_bytes()[:-1])
    assert not is_complete("mnist", tmp_path)


@pytest.mark.parametrize(
    ("images", "labels"),
    [((3, 28, 28), [0, 1]), ((3, 27, 28), [0, 1, 2]), ((3, 28, 28), [0, 1, 10]), ((0, 28, 28), []), ((3,), [0, 1, 2])],
)
def test_uncompressed_files_of_another_kind_are_refused(
    images: tuple[int, ...], labels: list[int], mirror: Path, tmp_path: Path
) -> None:
    contents = [site.to_idx(torch.zeros(images)), site.to_idx(torch.tensor(labels))] * 2
    for name, content in zip(site.FILES, contents, strict=True):
        (tmp_path / name.removesuffix(".gz")).write_bytes(content)
    with pytest.raises(InputError, match="do not hold images of 28x28 pixels with labels 0-9"):
        read("mnist", tmp_path)


def test_a_mirror_may_be_a_folder(mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(mirror.parent)
    fetch("mnist", tmp_path, [mirror.name])
    assert is_complete("mnist", tmp_path)
    for given in (str(mirror), "mine", r"C:\mine"):
        assert compose(f"data.mirrors=['{given}']").data.mirrors == [given]


def test_qmnists_wide_labels_and_longer_test_file_are_read(
    tmp_path: Path, sample: datasets.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save(name: str, content: bytes) -> tuple[str, str]:
        (tmp_path / name).write_bytes(gzip.compress(content, 1))
        return f"http://127.0.0.1:9/{name}", md5((tmp_path / name).read_bytes())

    resources = {}
    for part, (images, labels) in {"train": sample.train, "test": sample.test}.items():
        wide = torch.stack([labels] + [torch.full_like(labels, 2**20)] * 7, dim=1)
        header = struct.pack(">BBBBii", 0, 0, 12, 2, len(labels), 8)
        resources[part] = [
            save(f"{part}-images.gz", site.to_idx(images[:, 0])),
            save(f"{part}-labels.gz", header + wide.numpy().astype(">i4").tobytes()),
        ]
    monkeypatch.setattr(torchvision.datasets.QMNIST, "resources", resources)
    monkeypatch.setitem(datasets.TEST_IMAGES, "qmnist", 900)
    fetch("qmnist", tmp_path, [tmp_path.as_uri()])
    qmnist = read("qmnist", tmp_path)
    assert torch.equal(qmnist.train.labels, sample.train.labels)
    assert torch.equal(qmnist.test.images, sample.test.images[:900])
    assert torch.equal(qmnist.test.labels, sample.test.labels[:900])


@pytest.mark.parametrize("name", datasets.FAMILY)
def test_every_data_set_has_four_files_with_md5_and_mirrors(name: str) -> None:
    assert datasets.TEST_IMAGES[name] == 10_000
    archives = datasets._archives(name, Path("data"))
    kinds = [("images" in archive.file.name, "train" in archive.file.name) for archive in archives]
    assert kinds == [(True, True), (False, True), (True, False), (False, False)]
    for archive in archives:
        assert archive.file.parent == Path("data") / datasets.FAMILY[name] / "raw"
        assert len(archive.digest) == 32
        assert archive.mirrors
        assert all(mirror.startswith("http") for mirror in archive.mirrors)


def test_no_two_data_sets_have_a_file_in_common() -> None:
    """A subclass in torchvision that lists no files of its own, such as EMNIST, inherits MNIST's."""
    digests = [archive.digest for name in datasets.FAMILY for archive in datasets._archives(name, Path("data"))]
    assert len({*digests}) == len(digests)


def test_qmnist_comes_from_its_own_mirror() -> None:
    mirrors = datasets._archives("qmnist", Path("data"))[0].mirrors
    assert mirrors == ["https://raw.githubusercontent.com/facebookresearch/qmnist/master"]


def test_a_failed_download_leaves_no_new_folders(tmp_path: Path, mirror: Path) -> None:
    (tmp_path / "there").mkdir()
    for folder in (tmp_path / "there" / "new" / "data", tmp_path / "there"):
        with pytest.raises(Unreachable, match="train-images-idx3-ubyte.gz: .*refused"):
            fetch("mnist", folder)
        assert list(tmp_path.rglob("*")) == [tmp_path / "there"]


def test_a_failed_download_keeps_the_files_that_are_there(tmp_path: Path, mirror: Path) -> None:
    fetch("mnist", tmp_path, [mirror.as_uri()])
    (tmp_path / "MNIST" / "raw" / site.FILES[3]).unlink()
    with pytest.raises(Unreachable, match=site.FILES[3]):
        fetch("mnist", tmp_path)
    assert all((tmp_path / "MNIST" / "raw" / name).exists() for name in site.FILES[:3])


def test_a_folder_that_cannot_be_written_is_named(mirror: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    for folder in (tmp_path / "file", tmp_path / ("long" * 100)):
        assert not is_complete("mnist", folder)
        with pytest.raises(InputError, match=f"data.dir={folder} cannot be written: .*: give another folder"):
            fetch("mnist", folder, [mirror.as_uri()])


def test_every_fault_of_a_mirror_or_a_folder_is_refused_or_repaired(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "_TIMEOUT", 0.2)
    cases = list(faults.cases(tmp_path))
    assert len(cases) == 41
    assert not [case for case in cases if case.wrong]


def test_the_sample_has_4000_and_1000_real_images_of_all_digits(sample: datasets.Dataset) -> None:
    assert sample.name == "mnist-sample"
    assert sample.train.labels.bincount().tolist() == [400] * 10
    assert sample.test.labels.bincount().tolist() == [100] * 10
    together = torch.cat([sample.train.images, sample.test.images]).flatten(1)
    assert len(together.unique(dim=0)) == 5000  # none is in both


def test_the_sample_has_each_digit_beside_its_label(sample: datasets.Dataset) -> None:
    train, test = (part.images.flatten(1).float() for part in (sample.train, sample.test))
    nearest = sample.train.labels[torch.cdist(test, train).argmin(dim=1)]
    assert (nearest == sample.test.labels).float().mean() > 0.9
