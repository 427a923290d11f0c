"""The page of a search: its trials, the objective by each hyperparameter, and how much each of them matters."""

from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from mnist_cnn.cli import command_line
from mnist_cnn.errors import InputError
from mnist_cnn.reports import plots
from mnist_cnn.reports.page import TEMPLATES, Page, Picture
from mnist_cnn.reports.sweep_table import Cell, Line, Sheet, are_numbers, link
from mnist_cnn.runs.table import RANKED_BY
from mnist_cnn.schema import Range, Search
from mnist_cnn.searches.trials import Trial, read_json, read_trials, rungs, status, winner
from mnist_cnn.settings import compose

_MOST_LINES = 8  # in one plot: as many as there are colours
_FEW = 20  # trials


class _Found(NamedTuple):
    """A search as its folder has it; the trials in the order of their epochs and scores."""

    search: Search
    overrides: list[str]
    trials: list[Trial]
    levels: list[int]

    @property
    def winner(self) -> Trial | None:
        return winner(self.trials, self.levels[-1])


def report_search(folder: Path, data_dir: Path | None = None) -> Page:
    """Return the page about a search, which may not be complete yet. It needs no images.

    Raises InputError if search.json or a trial is damaged, or no trial has been trained for an epoch.
    """
    found = _read(folder)
    best, results = found.winner, [each.run.result() for each in found.trials]
    values = {
        "name": folder.resolve().name,
        "search": found.search,
        "datasets": sorted({str(each["dataset"]) for each in results if "dataset" in each}),
        "conclusion": _conclusion(found),
        "sheet": _lay_out(found, folder),
        "importances": _importances(found),
        "command": command_line("mnist_cnn.train", *best.command(found.overrides)) if best else "",
    }
    return Page(TEMPLATES / "search.html", values, list(_pictures(found)))


def _read(folder: Path) -> _Found:
    try:
        trials = sorted(read_trials(folder), key=lambda each: (-each.epochs, -max(each.scores[-1:], default=0.0)))
        known = read_json(folder / "search.json")
        overrides = [str(each) for each in known.pop("overrides")]
        known.pop("conf_hash", None)
        search = Search.model_validate({**known, "n_trials": max(1, len(trials)), "overrides": overrides})
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{folder} holds a search whose search.json or trial is damaged") from error
    if not any(each.scores for each in trials):
        raise InputError(f"{folder} holds no trial that was trained for an epoch: there is nothing to show yet")
    epochs = compose(*overrides, *trials[0].overrides).trainer.max_epochs
    levels = rungs(epochs, search.reduction) if search.pruner == "halving" else [epochs]
    return _Found(search, overrides, trials, levels)


def _lay_out(found: _Found, folder: Path) -> Sheet:
    keys, lines = [*found.search.space], []
    for trial in found.trials:
        score = f"{trial.scores[-1]:.4f}" if trial.scores else ""
        texts = [str(trial.number), score, str(trial.epochs), status(trial, found.levels)]
        texts += [str(trial.params.get(key, "")) for key in keys]
        cells = [Cell(text, value=text) for text in texts]
        lines.append(Line(cells, [(trial.run.path.name, link(trial.run, folder))], trial is found.winner))
    head = ["trial", RANKED_BY, "epochs", "status", *keys]
    columns = zip(*([cell.text for cell in line.cells] for line in lines), strict=True)
    is_number = [name != "trial" and are_numbers(column) for name, column in zip(head, columns, strict=True)]
    return Sheet([*zip(head, is_number, strict=True)], lines, [])


def _conclusion(found: _Found) -> str:
    best = found.winner
    if best is None:
        return f"No trial has been trained to the end, {_epochs(found.levels[-1])}, yet."
    said = f"Trial {best.number} is the best of those trained to the end: {RANKED_BY} {best.scores[-1]:.4f}"
    tested = best.run.result().get("test/acc")
    return f"{said}; test/acc {tested:.4f}, measured once." if isinstance(tested, float) else f"{said}; not tested yet."


def _importances(found: _Found) -> str:
    """Say how much each hyperparameter matters, with a caution; nothing where Optuna is not installed."""
    if find_spec("optuna") is None:
        return ""
    from mnist_cnn.searches.proposals import explain_importances

    n, level = len(found.trials), found.levels[0]
    shares = explain_importances(found.search, level, found.trials)
    caution = f" With {n} trials, this says little." if n < _FEW else ""
    return f"Importance for {RANKED_BY} after {_epochs(level)}: {shares}.{caution}"


def _pictures(found: _Found) -> Iterator[Picture]:
    first = found.levels[0]
    if reached := [each for each in found.trials if each.epochs >= first]:
        name = f"{RANKED_BY} after {_epochs(first)}"
        params, scores = [each.params for each in reached], [each.scores[first - 1] for each in reached]
        star = next((place for place, each in enumerate(reached) if each is found.winner), None)
        logarithmic = {key for key, values in found.search.space.items() if isinstance(values, Range) and values.log}
        caption = f"A dot is a trial, all compared after {_epochs(first)}."
        caption += " Star: the best of those trained to the end." if star is not None else ""
        draw = partial(plots.plot_trials, params, scores, name, star, logarithmic)
        said = f"{name} from {min(scores):.4f} to {max(scores):.4f} in {len(scores)} trials"
        yield Picture("trials", "Objective by hyperparameter", caption, draw, said)
    curves = {f"trial {each.number}": [each.run.curves()] for each in found.trials[:_MOST_LINES] if each.scores}
    if all({"train/loss", "train/acc"} <= runs[0].keys() for runs in curves.values()):
        caption = "A curve ends where its trial was paused."
        caption += f" The first {_MOST_LINES} rows of the table." if len(found.trials) > _MOST_LINES else ""
        yield Picture("curves", "Learning curves", caption, partial(plots.plot_curves, curves))


def _epochs(number: int) -> str:
    return f"{number} epoch{'s' if number > 1 else ''}"
