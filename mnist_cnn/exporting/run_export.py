"""Export a checkpoint: read it, write the format, check that, and put the files in place."""

from collections.abc import Mapping
from pathlib import Path

import torch

from mnist_cnn.errors import RunError
from mnist_cnn.exporting.card import model_card
from mnist_cnn.exporting.check import CheckImages, check_images, compare, require_equal
from mnist_cnn.exporting.formats import FORMATS, Source, quiet_libraries
from mnist_cnn.exporting.metadata import onnx_metadata, result_of
from mnist_cnn.exporting.request import Request, licence_on
from mnist_cnn.files import write_atomically
from mnist_cnn.model.classifier import DigitClassifier
from mnist_cnn.runs.checkpoint import classifier_from, dataset_of, read_checkpoint
from mnist_cnn.runs.directory import run_of


def export_checkpoint(checkpoint: Path, request: Request, uint8: bool = False, licence: str | None = None) -> str:
    """Write the requested files. Returns a line for each network: its file, its size, what was checked.

    Without a licence the card keeps the one that it names already.

    Raises InputError if the checkpoint cannot be used, RunError if the check fails or a file cannot be written.
    """
    read = read_checkpoint(checkpoint)
    classifier = classifier_from(read, checkpoint).eval()
    shown = check_images(dataset_of(read), Path(str(run_of(checkpoint).result().get("data_dir", "data"))))
    metadata = onnx_metadata(classifier, dataset_of(read), result_of(checkpoint), uint8)
    source = Source(classifier.net, torch.uint8 if uint8 else torch.float32, metadata)
    contents, lines = dict[Path, bytes](), list[str]()
    for file in request.networks:
        contents[file], checked = _export(file, source, classifier, shown)
        names = f"{file} and {request.card}" if request.card and file == request.networks[0] else file
        lines.append(f"{names}: {len(contents[file]):,} bytes; {checked}")
    if request.card:
        licence = licence or licence_on(request.card)
        contents[request.card] = model_card(checkpoint, read, classifier, request, licence).encode()
    _put_in_place(contents)
    return "\n".join(lines)


def _export(file: Path, source: Source, classifier: DigitClassifier, shown: CheckImages) -> tuple[bytes, str]:
    """Return the content of a file in the format that its suffix names, and how it was checked."""
    how = FORMATS[file.suffix]
    try:
        with quiet_libraries():
            content = how.write(source)
            found = compare(how.read(content, source), classifier, shown.images, source.dtype)
    except Exception as error:  # whatever a library raises, it is no file
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise RunError(f"{file} was not written: {reason[:300]}") from error
    require_equal(found)
    return content, (
        f"checked with {how.library} on {found.images:,} test images of {shown.dataset}: the same digits as torch, "
        f"logits differ by at most {found.largest_difference:.1e} (allowed: {found.tolerance:.1e})"
    )


def _put_in_place(contents: Mapping[Path, bytes]) -> None:
    """Write all files; if one cannot be written, remove those that were not there before."""
    new = [path for path in contents if not path.exists()]
    try:
        for path, content in contents.items():
            write_atomically(path, content)
    except BaseException as error:
        for path in new:
            path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise RunError(f"{error.filename} cannot be written: {error.strerror}") from error
        raise
