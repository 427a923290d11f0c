"""Weights from and to Keras: `python -m mnist_cnn.keras import FILE OUT.ckpt | export RUN OUT.keras|OUT.weights.h5`.

FILE is a .keras, .weights.h5 or older .h5 file. OUT.keras is for load_model, OUT.weights.h5 for load_weights.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from mnist_cnn.cli import Parser, run_command
from mnist_cnn.errors import InputError, missing_package


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, convert, and print a line."""
    parser = Parser(prog="python -m mnist_cnn.keras", description=__doc__)
    parser.add_argument("command", choices=["import", "export"], help="from Keras, or to Keras")
    parser.add_argument("source", type=Path, metavar="FILE|RUN", help="a Keras file; or a run directory or checkpoint")
    parser.add_argument("out", type=Path, metavar="OUT", help="the file to write: .ckpt; or .keras or .weights.h5")
    parser.add_argument("--force", action="store_true", help="overwrite an existing file")
    options = parser.parse_args(arguments)
    endings = (".ckpt",) if options.command == "import" else (".keras", ".weights.h5")
    _check(options.source, options.out, endings, options.force)
    convert = _import if options.command == "import" else _export
    try:
        description = convert(options.source, options.out)
    except OSError as error:
        raise InputError(f"{error.filename} cannot be read or written: {error.strerror}") from error
    print(f"{options.out}: {description}")


def _check(source: Path, out: Path, endings: tuple[str, ...], force: bool) -> None:
    if not source.exists():
        raise InputError(f"{source} does not exist")
    if not out.name.endswith(endings):
        raise InputError(f"{out} cannot be written: give a name that ends in {' or '.join(endings)}")
    if out.exists() and not force:
        raise InputError(f"{out} already exists: use --force to overwrite it")
    if find_spec("h5py") is None:
        raise missing_package("Keras files need h5py", "keras")


def _import(source: Path, out: Path) -> str:
    from mnist_cnn.keras import files

    file = files.read(source)  # before torch is imported: a file that cannot be read is refused at once
    from mnist_cnn.keras.convert import import_keras

    return import_keras(file, out)


def _export(source: Path, out: Path) -> str:
    from mnist_cnn.keras.convert import export_keras

    return export_keras(source, out)


if __name__ == "__main__":
    run_command(main)
