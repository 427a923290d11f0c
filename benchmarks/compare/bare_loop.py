"""Nothing but the mathematics of our network, the floor below Lightning, loader and metrics: `... DATA_DIR`."""

import sys
from pathlib import Path

from mnist_cnn.cli import run_command


def main() -> None:
    """Train until the turns end."""
    import torch
    import torch.nn.functional as F

    from benchmarks.compare.turns import take_turns
    from mnist_cnn import ConvNet
    from mnist_cnn.data import datasets
    from mnist_cnn.data.images import scale
    from mnist_cnn.model.backend import forward_fast
    from mnist_cnn.model.optimizers import KerasRMSprop

    images, labels = datasets.read("mnist", Path(sys.argv[1])).train
    net = ConvNet()
    optimizer = KerasRMSprop(net.parameters())

    def train_epoch() -> None:
        for batch in torch.randperm(len(images)).split(64):
            loss = F.cross_entropy(forward_fast(net, scale(images[batch])), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    take_turns(train_epoch)


run_command(main)  # which prepares the machine before torch is imported
