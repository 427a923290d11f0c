"""A loop as PyTorch's own MNIST example has it: `... DATA_DIR`."""

import sys

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from benchmarks.compare.turns import take_turns


class Net(nn.Module):
    """The notebook's network."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3 = nn.Conv2d(1, 32, 3), nn.Conv2d(32, 64, 3), nn.Conv2d(64, 128, 3)
        self.fc = nn.Linear(1152, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.relu(self.conv3(x))
        return self.fc(torch.flatten(x, 1))


loader = DataLoader(
    datasets.MNIST(sys.argv[1], download=True, transform=transforms.ToTensor()), batch_size=64, shuffle=True
)
net = Net()
optimizer = torch.optim.RMSprop(net.parameters(), lr=1e-3, alpha=0.9, eps=1e-7)


def train_epoch() -> None:
    """Train, and look at the loss every ten batches."""
    net.train()
    for number, (images, labels) in enumerate(loader):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(images), labels)
        loss.backward()
        optimizer.step()
        if number % 10 == 0:
            loss.item()


take_turns(train_epoch)
