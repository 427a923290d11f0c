"""Weights from Keras and to Keras: `python -m mnist_cnn.keras import FILE OUT.ckpt`, `... export RUN OUT.keras`.

`import` takes .keras, .weights.h5 and the older .h5, and writes a checkpoint that every other command takes.
`export` takes a run or a checkpoint, and writes .keras for load_model or .weights.h5 for load_weights.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mnist_cnn.errors import InputError, run_command
from mnist_cnn.runs.directory import write_whole


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, convert, and print a line."""
    parser = argparse.ArgumentParser(prog="python -m mnist_cnn.keras", description="Weights from and to Keras.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="import|export")
    reading = commands.add_parser("import", help="write a Keras file's weights as a checkpoint")
    reading.add_argument("source", metavar="FILE", help="a .keras, .weights.h5 or .h5 file")
    reading.add_argument("out", metavar="OUT.ckpt", help="the checkpoint to write")
    writing = commands.add_parser("export", help="write a run's weights for Keras")
    writing.add_argument("source", metavar="RUN", help="a run directory (outputs/latest) or a checkpoint file")
    writing.add_argument("out", metavar="OUT.keras|OUT.weights.h5", help="for load_model, or for load_weights")
    for command in (reading, writing):
        command.add_argument("--force", action="store_true", help="overwrite what is there")
    options = parser.parse_args(arguments)
    convert = import_keras if options.command == "import" else export_keras
    print(f"{options.out}: {convert(options.source, options.out, options.force)}")


def import_keras(source: str | Path, out: str | Path, force: bool = False) -> str:
    """Write a Keras file's weights as a checkpoint. Returns a line that says what they are.

    Raises InputError if the file holds no network of ours, or `out` is there already or cannot be written.
    """
    out = _destination(out, (".ckpt",), force)
    from mnist_cnn.keras import files

    file = files.read(Path(source))

    from lightning import __version__ as lightning_version

    from mnist_cnn.keras import nets, weights
    from mnist_cnn.model.classifier import DigitClassifier
    from mnist_cnn.runs import archive

    try:
        model = nets.model_of(file)
        state = weights.to_torch(model, file.weights)
    except InputError as error:
        raise InputError(f"{source} cannot be imported: {error}") from error
    classifier = DigitClassifier(model)
    classifier.net.load_state_dict(state)
    checkpoint = {
        "state_dict": classifier.state_dict(),
        "hyper_parameters": dict(classifier.hparams),
        "pytorch-lightning_version": lightning_version,
    }
    _write(out, archive.saved(checkpoint))
    return "; ".join([_describe(classifier), *nets.remarks(file)])


def export_keras(source: str | Path, out: str | Path, force: bool = False) -> str:
    """Write the weights of a run or a checkpoint for Keras. Returns a line that says what they are.

    Raises InputError if there is no sound checkpoint, or `out` is there already or cannot be written.
    """
    out = _destination(out, (".keras", ".weights.h5"), force)
    from mnist_cnn.keras import files, nets, weights
    from mnist_cnn.runs.checkpoint import load_classifier

    classifier = load_classifier(source)
    arrays = weights.to_keras(classifier.net)
    if out.name.endswith(".keras"):
        _write(out, files.keras_file(nets.keras_layers(classifier.net), arrays))
    else:
        _write(out, files.weights_file(arrays))
    return _describe(classifier)


def _destination(path: str | Path, endings: Sequence[str], force: bool) -> Path:
    out = Path(path)
    if not out.name.endswith(tuple(endings)):
        raise InputError(f"{out} cannot be written: give a name that ends in {' or '.join(endings)}")
    if os.path.lexists(out) and not force:
        raise InputError(f"{out} is there already: give --force to overwrite it")
    return out


def _write(out: Path, content: bytes) -> None:
    try:
        write_whole(out, content)
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error.strerror}") from error


def _describe(classifier: Any) -> str:
    from mnist_cnn.model.nets import count_parameters

    options = [f"{key} {value}" for key, value in classifier.hparams["model"].items()]
    return ", ".join([*options, f"{count_parameters(classifier.net):,} parameters"])


if __name__ == "__main__":
    run_command(main)
