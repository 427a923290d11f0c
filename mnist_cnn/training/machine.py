"""The machine that computes a run, as stored in result.json: device, versions, and the commit of a checkout."""

import platform
import re
import subprocess
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import mnist_cnn

_PACKAGES = ("torch", "torchvision", "lightning", "torchmetrics", "hydra-core")


def describe_machine(device: torch.device) -> dict[str, Any]:
    """Return the device, the number of threads, the versions of packages, and the commit."""
    versions = {"python": platform.python_version(), "mnist_cnn": mnist_cnn.__version__}
    versions |= {name: version(name) for name in _PACKAGES}
    if device.type == "cuda":
        versions["cuda"] = str(torch.version.cuda)
        with suppress(RuntimeError):  # cuDNN is missing, or not the version that torch was built with
            versions["cudnn"] = str(torch.backends.cudnn.version())  # type: ignore[no-untyped-call]
    return {
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name(),
        "threads": torch.get_num_threads(),
        "versions": versions,
        "commit": commit_of(Path(mnist_cnn.__file__).parents[1]),
    }


def _cpu_name() -> str:
    with suppress(OSError):  # Linux only
        if named := re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text()):
            return named[1]
    return platform.processor() or platform.machine()


def commit_of(checkout: Path) -> str | None:
    """Return the commit of a git checkout, with "-dirty" if files were changed; None for an installed package."""
    if not (checkout / ".git").exists():
        return None
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    with suppress(OSError, subprocess.SubprocessError):  # no git, or another user's checkout
        return subprocess.run(command, capture_output=True, check=True, timeout=5, text=True).stdout.strip()  # noqa: S603
    return None
