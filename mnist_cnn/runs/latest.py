"""outputs/latest: a link to the newest run. Where the system forbids links, as Windows does, a file with its name."""

from contextlib import suppress
from pathlib import Path

from mnist_cnn.errors import InputError
from mnist_cnn.files import link_atomically, write_atomically

_OUTPUTS = Path("outputs")


def link_latest(run: Path, outputs: Path = _OUTPUTS) -> None:
    """Point outputs/latest to this run directory, if it is below outputs."""
    outputs, run = outputs.resolve(), run.resolve()
    if not run.is_relative_to(outputs):
        return
    latest, target = outputs / "latest", run.relative_to(outputs)
    with suppress(OSError):  # there is a folder of that name
        try:
            link_atomically(latest, target)
        except OSError:
            write_atomically(latest, target.as_posix().encode())


def follow(path: Path) -> Path:
    """Return the run directory that a file outputs/latest names; any other path unchanged."""
    return path.parent / path.read_text("utf-8") if path.name == "latest" and path.is_file() else path


def check_not_latest(folder: Path, key: str, outputs: Path = _OUTPUTS) -> None:
    """Raise InputError if `key` names outputs/latest: a folder of that name would replace the link."""
    if folder.parent.resolve() / folder.name == outputs.resolve() / "latest":
        raise InputError(f"{outputs / 'latest'} is the link to the newest run: choose another {key}")
