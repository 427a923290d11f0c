"""Export a checkpoint: read it, write the format, check that, and put the files in place."""

from collections.abc import Mapping
from pathlib import Path

import torch

from mnist_cnn.errors import RunError
from mnist_cnn.exporting.card import model_card
from mnist_cnn.exporting.check import check_images, compare, require_equal
from mnist_cnn.exporting.formats import FORMATS, Source, quiet_libraries
from mnist_cnn.exporting.request import files_of
from mnist_cnn.files import write_atomically
from mnist_cnn.runs.checkpoint import classifier_from, dataset_of, read_checkpoint
from mnist_cnn.runs.directory import run_of


def export_checkpoint(checkpoint: Path, out: Path, uint8: bool = False) -> str:
    """Write `out` in the format that its suffix names. Returns one line: the file, its size, what was checked.

    Raises InputError if the checkpoint cannot be used, RunError if the check fails or a file cannot be written.
    """
    read = read_checkpoint(checkpoint)
    classifier = classifier_from(read, checkpoint).eval()
    shown = check_images(dataset_of(read), Path(str(run_of(checkpoint).result().get("data_dir", "data"))))
    source = Source(classifier.net, torch.uint8 if uint8 else torch.float32, classifier.classes)
    how = FORMATS[out.suffix]
    try:
        with quiet_libraries():
            content = how.write(source)
            found = compare(how.read(content, source), classifier, shown.images, source.dtype)
    except Exception as error:  # whatever a library raises, it is no file
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise RunError(f"{out} was not written: {reason[:300]}") from error
    require_equal(found)
    contents = {out: content}
    for card in files_of(out)[1:]:
        contents[card] = model_card(checkpoint, read, classifier, out.name).encode()
    _put_in_place(contents)
    return (
        f"{' and '.join(map(str, contents))}: {len(content):,} bytes; checked with {how.library} on "
        f"{found.images:,} test images of {shown.dataset}: the same digits as torch, logits differ by at most "
        f"{found.largest_difference:.1e} (allowed: {found.tolerance:.1e})"
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
