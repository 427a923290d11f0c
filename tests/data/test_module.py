from inspect import signature
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mnist_cnn.data import datasets
from mnist_cnn.data.download import Unreachable
from mnist_cnn.data.module import MNISTDataModule
from mnist_cnn.errors import InputError
from mnist_cnn.schema import Augmentation
from mnist_cnn.settings import compose


def ready(**options: Any) -> MNISTDataModule:
    data = MNISTDataModule(name="sample", **options)
    data.prepare_data()
    data.setup()
    return data


def test_the_defaults_are_those_of_conf(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MNIST_CNN_DATA", raising=False)
    settings = compose().to_dict()
    options = settings["data"] | {"seed": settings["seed"], "mirrors": (), "augmentation": None, "floats": False}
    options |= {"reading": "ink", "test_size": 0.2}  # of your own pictures: conf/data/folder.yaml
    for name, parameter in signature(MNISTDataModule).parameters.items():
        assert name == "others" or options[name] == parameter.default
    assert Augmentation(**settings["augment"]) == Augmentation()


def test_batches_are_bytes_with_integer_labels() -> None:
    images, labels = next(iter(ready(batch_size=32).train_dataloader()))
    assert (images.dtype, tuple(images.shape)) == (torch.uint8, (32, 1, 28, 28))
    assert (labels.dtype, tuple(labels.shape)) == (torch.int64, (32,))


def test_training_images_alone_are_augmented(sample: datasets.Dataset) -> None:
    data = ready(val_size=500, augmentation=Augmentation(shift=2))
    assert next(iter(data.train_dataloader()))[0].dtype == torch.float32
    for loader in (data.val_dataloader(), data.test_dataloader(), data.predict_dataloader()):
        assert next(iter(loader))[0].dtype == torch.uint8


def test_without_validation_there_is_no_loader_and_all_images_train() -> None:
    data = ready()
    assert data.val_dataloader() == []
    assert len(data.train.labels) == 4000


def test_training_images_come_in_the_order_of_the_seed(sample: datasets.Dataset) -> None:
    order = torch.randperm(4000, generator=torch.Generator().manual_seed(3 * 2**20))
    batches = list(ready(seed=3, batch_size=1000).train_dataloader())
    assert torch.equal(torch.cat([labels for _, labels in batches]), sample.train.labels[order])
    assert torch.equal(torch.cat([images for images, _ in batches]), sample.train.images[order])


def test_evaluation_images_come_in_the_order_of_the_data(sample: datasets.Dataset) -> None:
    data = ready(val_size=600)
    for loader in (data.test_dataloader(), data.predict_dataloader()):
        assert torch.equal(torch.cat([images for images, _ in loader]), sample.test.images)
    val = data.val_dataloader()
    assert torch.equal(torch.cat([labels for _, labels in val]), data.val.labels)


def test_each_process_of_a_trainer_takes_its_share(sample: datasets.Dataset) -> None:
    shares = []
    for rank in range(3):
        data = ready(batch_size=1000)
        strategy = SimpleNamespace(root_device=torch.device("cpu"))
        data.trainer = SimpleNamespace(global_rank=rank, world_size=3, strategy=strategy)  # type: ignore[assignment]
        assert len(torch.cat([labels for _, labels in data.train_dataloader()])) == 1334
        shares.append(torch.cat([images for images, _ in data.test_dataloader()]))
        strategy.root_device = torch.device("meta")
        assert data.test_dataloader().dataset[0][0].device.type == "meta"  # the images are where the trainer computes
    assert [len(share) for share in shares] == [334, 333, 333]
    assert torch.equal(shares[1], sample.test.images[1::3])


def test_data_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    data = ready()
    before = data.train.images
    monkeypatch.setattr(datasets, "sample", None)
    data.prepare_data()
    data.setup("test")
    assert data.train.images is before


def test_the_data_set_is_named_in_the_checkpoint() -> None:
    assert MNISTDataModule().state_dict() == {}
    assert ready().state_dict() == {"dataset": "mnist-sample"}


def test_mirrors_are_one_url_or_several() -> None:
    assert MNISTDataModule(mirrors="file:///m").mirrors == MNISTDataModule(mirrors=["file:///m"]).mirrors
    assert MNISTDataModule(mirrors=("a", "b")).mirrors == ["a", "b"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "minst"}, r"^name=minst is not known: .* \(did you mean mnist\?\)"),
        ({"fallback": "no"}, "^fallback=no is not known: choose one of sample, error"),
    ],
)
def test_unknown_names_are_refused_before_any_data_is_read(options: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        MNISTDataModule("/nowhere", **options)  # type: ignore[arg-type]


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """The arguments of every attempt to download, none of which succeeds."""
    calls: list[tuple[object, ...]] = []

    def fetch(*arguments: object) -> None:
        calls.append(arguments)
        raise Unreachable("no network")

    monkeypatch.setattr(datasets, "fetch", fetch)
    return calls


def test_the_sample_stands_in_for_mnist_with_a_warning(
    tmp_path: Path, fetched: list[Any], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = MNISTDataModule()
    data.prepare_data()
    data.setup()
    assert fetched == [("mnist", Path("data"), [])]
    assert data.state_dict() == {"dataset": "mnist-sample"}
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2
    assert "no network" in caplog.text
    assert "TRAINING ON A SAMPLE" in caplog.text


@pytest.mark.usefixtures("fetched")
@pytest.mark.parametrize("options", [{"fallback": "error"}, {"name": "fashion_mnist"}])
def test_the_sample_stands_in_for_mnist_only_and_only_if_allowed(tmp_path: Path, options: dict[str, Any]) -> None:
    data = MNISTDataModule(tmp_path, **options)
    with pytest.raises(InputError, match="no network"):
        data.prepare_data()
    with pytest.raises(InputError, match=f"data.dir={tmp_path} does not hold {options.get('name', 'mnist')}"):
        data.setup()


@pytest.mark.parametrize("options", [{"dir": "elsewhere"}, {"mirrors": "/usb"}, {"mirrors": ["file:///usb"]}])
def test_with_dir_or_mirrors_the_sample_is_not_used(options: dict[str, Any], fetched: list[Any]) -> None:
    data = MNISTDataModule(**options)
    where = options.get("dir", "data")
    with pytest.raises(InputError, match=f"^data.dir={where} does not hold mnist, and no network$"):
        data.prepare_data()
    with pytest.raises(InputError, match=f"^data.dir={where} does not hold mnist$"):
        data.setup()


@pytest.mark.parametrize("file", ["seven.png", "7/seven.png", "train/7/seven.png"])
def test_a_folder_of_pictures_is_refused_before_a_download(file: str, tmp_path: Path, fetched: list[Any]) -> None:
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).touch()
    with pytest.raises(InputError, match=f"^data.dir={tmp_path} holds PNG files, not MNIST"):
        MNISTDataModule(tmp_path).prepare_data()
    assert fetched == []


def test_the_sample_is_not_downloaded(fetched: list[Any]) -> None:
    ready()
    assert fetched == []


def test_complete_files_are_not_downloaded_again(
    tmp_path: Path, fetched: list[Any], sample: datasets.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets, "is_complete", lambda *where: where == ("kmnist", tmp_path))
    monkeypatch.setattr(datasets, "read", lambda *where: sample._replace(name=where[0]))
    data = MNISTDataModule(tmp_path, name="kmnist")
    data.prepare_data()
    data.setup()
    assert (data.state_dict(), fetched) == ({"dataset": "kmnist"}, [])


@pytest.mark.full
def test_mnist_has_its_60000_and_10000_images(mnist_dir: Path) -> None:
    data = MNISTDataModule(mnist_dir, val_size=5000, fallback="error")
    data.prepare_data()
    data.setup()
    assert data.dataset is not None
    assert data.dataset.train.labels.bincount().tolist()[:3] == [5923, 6742, 5958]  # LeCun's training set
    assert data.dataset.test.labels.bincount().tolist()[:3] == [980, 1135, 1032]
    assert data.val.labels.bincount().tolist() == [494, 562, 496, 511, 487, 452, 493, 522, 488, 495]


@pytest.mark.full
def test_the_sample_is_part_of_mnists_training_images(sample: datasets.Dataset, mnist_dir: Path) -> None:
    everything = {image.numpy().tobytes() for image in datasets.read("mnist", mnist_dir).train.images}
    assert all(image.numpy().tobytes() in everything for image in sample.test.images)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data_dir": "x"}, "has no argument data_dir: it is called dir"),
        ({"num_workers": 4}, "has no argument num_workers: all images are in memory"),
        ({"batchsize": 4}, r"has no argument batchsize: .*\(did you mean batch_size\?\)"),
        ({"batch_size": 0}, "batch_size=0 is out of range: give a whole number, 1 or more"),
        ({"train_size": 0}, "train_size=0 is out of range"),
        ({"fold": -1}, "fold=-1 is out of range"),
    ],
)
def test_arguments_that_cannot_be_used_are_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        MNISTDataModule(**options)
