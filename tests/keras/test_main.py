"""python -m mnist_cnn.keras: one line of output, or one line of error."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mnist_cnn.keras import __main__ as command
from tests.conftest import Answer, one_line


@pytest.fixture
def imported(digits: Path, tmp_path: Path, cli: Callable[..., Answer]) -> Path:
    assert cli(command.main, "import", digits, tmp_path / "digits.ckpt").status == 0
    return tmp_path / "digits.ckpt"


def test_import_and_export_print_a_line_that_describes_the_network(
    digits: Path, tmp_path: Path, cli: Callable[..., Answer]
) -> None:
    network = "name conv, padding valid, pooling max, channels [5, 7, 11], 2,076 parameters\n"
    checkpoint, back = tmp_path / "digits.ckpt", tmp_path / "back.keras"
    assert cli(command.main, "import", digits, checkpoint) == Answer(0, f"{checkpoint}: {network}", "")
    assert cli(command.main, "export", checkpoint, back) == Answer(0, f"{back}: {network}", "")


def test_an_existing_file_is_overwritten_only_with_force(
    digits: Path, imported: Path, cli: Callable[..., Answer]
) -> None:
    imported.write_text("precious")
    answer = cli(command.main, "import", digits, imported)
    expected = f"error: {imported} already exists: use --force to overwrite it\n"
    assert (answer.status, one_line(answer.err)) == (2, expected)
    assert imported.read_text() == "precious"
    assert cli(command.main, "import", digits, imported, "--force").status == 0
    assert imported.stat().st_size > 1000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["import", "{digits}", "{folder}/a.pt"], "a.pt cannot be written: give a name that ends in .ckpt"),
        (["export", "{digits}", "{folder}/a.h5"], "give a name that ends in .keras or .weights.h5"),
        (["import", "{folder}/none.keras", "{folder}/a.ckpt"], "none.keras does not exist"),
        (["import", "{folder}", "{folder}/a.ckpt"], "is not a file"),
        (["export", "{folder}", "{folder}/a.keras"], "there is no checkpoint"),
        (["export", "{digits}", "{folder}/a.keras"], "python -m mnist_cnn.keras import"),
        (["import", "{digits}", "/proc/none/a.ckpt"], "/proc/none/a.ckpt cannot be read or written: No such file"),
    ],
)
def test_arguments_that_cannot_be_used_give_one_line(
    arguments: list[str], message: str, digits: Path, tmp_path: Path, cli: Callable[..., Answer]
) -> None:
    answer = cli(command.main, *[part.format(digits=digits, folder=tmp_path) for part in arguments])
    assert answer.status == 2
    assert message in one_line(answer.err)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("direction", "out"), [("import", "a.ckpt"), ("export", "a.keras")])
def test_without_h5py_the_line_says_what_to_install(
    direction: str, out: str, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Callable[..., Answer]
) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    answer = cli(command.main, direction, digits, tmp_path / out)
    assert answer.status == 2
    assert one_line(answer.err) == 'error: Keras files need h5py: pip install "mnist_cnn[keras]"\n'


def test_help_and_a_file_that_cannot_be_read_do_not_import_torch(tmp_path: Path) -> None:
    (tmp_path / "bad.keras").write_bytes(b"hello")
    code = (
        "import sys; from mnist_cnn.keras.__main__ import main; from mnist_cnn.errors import InputError\n"
        "for arguments in (['--help'], ['import', 'none.keras', 'a.ckpt'], ['import', 'bad.keras', 'a.ckpt']):\n"
        "    try: main(arguments)\n"
        "    except (SystemExit, InputError): print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert [line for line in done.stdout.splitlines() if line in ("True", "False")] == ["False"] * 3
