"""What can be asked for, checked before torch is imported: the format, its packages, the destination."""

import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from mnist_cnn.errors import InputError, missing_package

PACKAGES: Final = {".onnx": ("onnx", "onnxscript", "onnxruntime"), ".pt2": (), ".safetensors": ("safetensors",)}
CARD: Final = "MODEL_CARD.md"


def files_of(out: Path) -> list[Path]:
    """Return the files that an export to `out` writes."""
    return [out, out.with_name(CARD)] if out.suffix == ".safetensors" else [out]


def check_request(out: Path, uint8: bool) -> None:
    """Raise InputError for an unknown format, a missing package, no place to write, or another file's card there."""
    if out.suffix not in PACKAGES:
        raise InputError(f"{out} cannot be written: give a name that ends in {', '.join(PACKAGES)}")
    if uint8 and out.suffix == ".safetensors":
        raise InputError(f"--uint8 cannot be used for {out}: .safetensors holds weights only; use .onnx or .pt2")
    for package in PACKAGES[out.suffix]:
        if find_spec(package) is None:
            raise missing_package(f"{out.suffix} files need {package}", "export")
    for file in files_of(out):
        _check_writable(file)
    card = out.with_name(CARD)
    if out.suffix == ".safetensors" and card.exists() and not card.read_bytes().startswith(title(out).encode()):
        raise InputError(f"{card} is not the card of {out.name}: give another folder, or move it away")


def title(out: Path) -> str:
    """Return the first line of the card of a file."""
    return f"# {out.name}\n"


def _check_writable(file: Path) -> None:
    """Raise InputError if `file` is a folder, or if its folder, which is made, takes no files."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.is_dir():
            raise InputError(f"{file} is a folder: give the name of a file")
        with tempfile.NamedTemporaryFile(prefix=f".{file.name}.", dir=file.parent):  # permissions do not tell all
            pass
    except OSError as error:
        raise InputError(f"{file} cannot be written: {error.strerror}") from error
