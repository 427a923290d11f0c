"""Stratified splits: which training images are held out for validation, and which ones an epoch contains."""

import torch
from jaxtyping import Int64
from torch import Tensor

from mnist_cnn.errors import InputError


def hold_out(
    labels: Int64[Tensor, " n"], size: int, seed: int, fold: int = 0
) -> tuple[Int64[Tensor, " kept"], Int64[Tensor, " size"]]:
    """Split the indices of `labels` into those to keep and `size` held out: stratified, both in ascending order.

    The folds 0 to n // size - 1 hold out disjoint indices.
    """
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    by_class = order[labels[order].argsort(stable=True)]  # class after class, each in random order
    held = torch.zeros(len(labels), dtype=torch.bool)
    held[by_class[torch.arange(size) * len(labels) // size + fold]] = True  # evenly spaced: each class gives its share
    return (~held).nonzero().flatten(), held.nonzero().flatten()


def hold_out_share(
    labels: Int64[Tensor, " n"], share: float, seed: int
) -> tuple[Int64[Tensor, " kept"], Int64[Tensor, " held"]]:
    """Split the indices of `labels` into those to keep and a share of each class, at least one image, held out."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    held = torch.zeros(len(labels), dtype=torch.bool)
    for label in set(labels.tolist()):
        of_class = order[labels[order] == label]
        held[of_class[: max(1, round(share * len(of_class)))]] = True
    return (~held).nonzero().flatten(), held.nonzero().flatten()


def check_fold(name: str, images: int, val_size: int, fold: int) -> None:
    """Raise InputError unless the data set has this fold, and other training images."""
    if not 0 <= val_size < images:
        raise InputError(f"data.val_size={val_size} leaves nothing to train on: {name} has {images:,} training images")
    folds = images // val_size if val_size else 1
    if fold >= folds:
        hint = f"data.val_size={val_size} makes {folds} folds" if val_size else "give data.val_size"
        raise InputError(f"data.fold={fold} does not exist (the first is 0): {hint}")


def epoch_indices(
    labels: Int64[Tensor, " n"], train_size: int | None, epoch_size: int | None, seed: int
) -> Int64[Tensor, " epoch"]:
    """Choose an epoch's images among those with `labels`: `train_size` of them, repeated until they are `epoch_size`.

    Raises InputError if there are not that many, or if an epoch would not contain them all.
    """
    for key, size in (("train_size", train_size), ("epoch_size", epoch_size)):
        if size is not None and size > len(labels):
            raise InputError(f"data.{key}={size} is too many: there are {len(labels):,} images to train on")
    chosen = torch.arange(len(labels)) if train_size is None else hold_out(labels, train_size, seed)[1]
    if epoch_size is None:
        return chosen
    if epoch_size < len(chosen):
        raise InputError(f"data.epoch_size={epoch_size} is too few: there are {len(chosen):,} images to train on")
    copies, rest = divmod(epoch_size, len(chosen))
    return torch.cat([chosen.repeat(copies), chosen[hold_out(labels[chosen], rest, seed)[1]]])
