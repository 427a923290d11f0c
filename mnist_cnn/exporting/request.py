"""What can be asked for, checked before torch is imported: the format, its packages, the destination."""

import os
import re
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Final, NamedTuple

from mnist_cnn.errors import InputError, missing_package

PACKAGES: Final = {".onnx": ("onnx", "onnxscript", "onnxruntime"), ".pt2": (), ".safetensors": ("safetensors",)}
UNKNOWN: Final = "unknown"  # the Hub's name for a licence that nobody has chosen
_LICENCE: Final = r"[a-z0-9][a-z0-9.-]*"


class Request(NamedTuple):
    """The files to write: networks, each in the format that its suffix names, and a card with its title."""

    networks: list[Path]
    card: Path | None
    title: str


def read_request(out: str) -> Request:
    """Return what `out` asks for: a file, or with a slash at its end, or if it exists, a folder for the Hub."""
    path = Path(out)
    if path.suffix not in PACKAGES and (out.endswith(("/", os.sep)) or path.is_dir()):
        return Request([path / "model.safetensors", path / "model.onnx"], path / "README.md", path.resolve().name)
    return Request([path], path.with_name("MODEL_CARD.md") if path.suffix == ".safetensors" else None, path.name)


def check_request(request: Request, uint8: bool, licence: str | None) -> None:
    """Raise InputError for an unknown format, a missing package, no place to write, or another file's card there."""
    for file in request.networks:
        if file.suffix not in PACKAGES:
            allowed = f"a name that ends in {', '.join(PACKAGES)}, or a folder with / at its end"
            raise InputError(f"{file} cannot be written: give {allowed}")
        if uint8 and file.suffix == ".safetensors":
            raise InputError(f"--uint8 cannot be used for {file}: .safetensors holds weights only; use .onnx or .pt2")
        for package in PACKAGES[file.suffix]:
            if find_spec(package) is None:
                raise missing_package(f"{file.suffix} files need {package}", "export")
    if licence is not None and not re.fullmatch(_LICENCE, licence):
        raise InputError(f"--license {licence} is not one of the Hub's names of licences, such as mit or cc-by-4.0")
    for file in (*request.networks, *([request.card] if request.card else [])):
        _check_writable(file)
    if request.card and request.card.exists() and not _is_card_of(request):
        raise InputError(f"{request.card} is not the card of {request.title}: give another folder, or move it away")


def licence_on(card: Path) -> str:
    """Return the licence that a card names which is about to be replaced, if there is one."""
    text = card.read_text("utf-8", errors="replace") if card.exists() else ""
    named = re.match(rf"---\nlicense: ({_LICENCE})\n", text)
    return named[1] if named else UNKNOWN


def _is_card_of(request: Request) -> bool:
    """Whether the card that exists is one of ours with this title. Those of earlier versions begin with it."""
    text = request.card.read_text("utf-8", errors="replace") if request.card else ""
    title = f"# {request.title}\n"
    return text.startswith(title) or (text.startswith("---\nlicense: ") and f"\n---\n\n{title}" in text)


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
