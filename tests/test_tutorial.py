"""tutorial.ipynb runs from top to bottom, and shows what its committed outputs show."""

import json
from itertools import groupby
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

FILE = Path(__file__).parent.parent / "tutorial.ipynb"


def kinds(notebook: NotebookNode) -> list[list[str]]:
    """What each cell shows: text, pictures, values. A kernel may send a text in several parts."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    shown = [[f"{each.output_type} {sorted(each.get('data', ''))}" for each in cell.outputs] for cell in cells]
    return [[kind for kind, _ in groupby(cell)] for cell in shown]


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # inside jupyter_client and its event loop
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_it_runs_and_shows_what_was_committed(tmp_path: Path) -> None:
    notebook = nbformat.read(FILE, as_version=4)
    committed = kinds(notebook)
    assert sum("image/png" in kind for cell in committed for kind in cell) >= 8
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert kinds(notebook) == committed


def test_every_picture_has_an_alt_text() -> None:
    cells = [cell for cell in nbformat.read(FILE, as_version=4).cells if cell.cell_type == "code"]
    pictures = [each for cell in cells for each in cell.outputs if "image/png" in each.get("data", {})]
    assert all(len(each.metadata["image/png"]["alt"]) > 20 for each in pictures)


def test_it_is_small_and_names_no_folder() -> None:
    text = FILE.read_text()
    assert len(text) < 1_000_000
    assert not any(word in text for word in ("/tmp", "/home", "/root"))
    assert json.loads(text)["metadata"]["kernelspec"]["name"] == "python3"
