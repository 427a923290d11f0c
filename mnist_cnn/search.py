"""Search for good hyperparameters: `python -m mnist_cnn.search [search=NAME] [n_trials=N] [KEY=VALUE ...]`.

conf/search/NAME.yaml lists what is tried; other overrides apply to every trial. Run the same command again to resume,
also after kill -9. Several processes may share a search. Trials are ranked by val/acc; only the winner is tested.
"""

import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

from mnist_cnn.cli import Parser, command_line, run_command
from mnist_cnn.differences import is_decisive
from mnist_cnn.errors import InputError, RunError, did_you_mean, missing_package
from mnist_cnn.runs.rendering import align_to_fit
from mnist_cnn.schema import Range, Search, Settings
from mnist_cnn.searchpath import with_searchpath
from mnist_cnn.settings import SEARCH_KEYS, by_key, compose, has_several_values, load_search, without
from mnist_cnn.signals import Stopped
from mnist_cnn.sweeps.job import check_single_process
from mnist_cnn.sweeps.plan import folder_name
from mnist_cnn.terminal import columns, fit
from mnist_cnn.training.start import summarise

if TYPE_CHECKING:
    from mnist_cnn.searches.session import Session
    from mnist_cnn.searches.trials import Trial


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, search, and print the trials, the importances, and the winner's command.

    Returns the exit status: 1 if a trial failed.
    """
    parser = Parser(prog="python -m mnist_cnn.search", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="search=NAME, n_trials=N, or as for train")
    given = parser.parse_args(with_searchpath(sys.argv[1:] if arguments is None else arguments)).overrides
    session = _open(given)
    try:
        for trial in session.run():
            said = f"failed: {trial.run.result()['error']}" if trial.run.has_failed() else _score(trial)
            between = "  " if sys.stderr.isatty() else " "
            line = f"trial {trial.number}: {said}  {between.join(trial.overrides)}"
            print(fit(line, sys.stderr), file=sys.stderr, flush=True)
    except Stopped:
        print(_table(session))
        print(f"stopped; to resume: {command_line('mnist_cnn.search', *given)}", file=sys.stderr)
        raise
    print(_table(session))
    _finish(session)
    return 1 if any(trial.run.has_failed() for trial in session.trials()) else 0


def _open(given: Sequence[str]) -> "Session":
    """Check everything before anything is written."""
    if find_spec("optuna") is None:
        raise missing_package("a search needs Optuna", "sweep")
    own = {key: value for key, value in by_key(given).items() if key in SEARCH_KEYS}
    others = without(given, *SEARCH_KEYS)
    if several := next((each for each in others if has_several_values(each)), None):
        raise InputError(f"{several} has several values: a search takes them from space in conf/search/NAME.yaml")
    for key in by_key(others).keys() - Settings.model_fields.keys():
        if "." not in key and (meant := did_you_mean(key, SEARCH_KEYS)):
            raise InputError(f"there is no key {key}{meant}")
    name, folder = own.pop("search", "default"), own.pop("search.dir", None)
    search = load_search(name, [f"{key.removeprefix('search.')}={value}" for key, value in own.items()], others)
    settings = _check(name, search, others)
    from mnist_cnn.searches.session import Session  # imports Optuna

    where = Path(folder) if folder else _default_folder(name, own, others)
    session = Session(search, where, (*search.overrides, *others), settings.trainer.max_epochs)
    session.begin()
    return session


def _check(name: str, search: Search, others: Sequence[str]) -> Settings:
    """Return the settings of a first trial. Raises InputError for what is not possible in a search."""
    for key in by_key(others):
        if key in search.space:
            raise InputError(f"{key} is in the search space of search={name}: choose another search to fix it")
    first = [f"{key}={values.low if isinstance(values, Range) else values[0]}" for key, values in search.space.items()]
    settings = compose(*search.overrides, *others, *first)
    check_single_process(settings)
    if not settings.data.val_size:
        raise InputError("a search ranks by val/acc, which needs a validation split: set data.val_size=5000")
    if settings.resume != "auto" or not settings.logger.csv:
        raise InputError("resume and logger.csv cannot be changed in a search, which resumes from metrics.csv")
    if settings.patience:
        raise InputError("patience is not possible in a search: its trials are compared after the same epochs")
    if settings.report:
        raise InputError("report=true is not possible in a search: python -m mnist_cnn.report shows its winner")
    return settings


def _default_folder(name: str, own: Mapping[str, str], others: Sequence[str]) -> Path:
    """Name the folder by what decides the trials, so that the same command finds it again."""
    decisive = [f"{key}={value}" for key, value in own.items() if key != "n_trials"]
    decisive += [each for each in others if is_decisive(each.partition("=")[0])]
    return Path("outputs") / "searches" / folder_name([name, *sorted(decisive)])


def _table(session: "Session") -> str:
    trials = sorted(session.trials(), key=lambda trial: (-trial.epochs, -max(trial.scores[-1:], default=0.0)))
    keys = [*session.search.space]
    lines = [["trial", *keys, "epochs", "val/acc", "status"]]
    for trial in trials:
        score = f"{trial.scores[-1]:.4f}" if trial.scores else ""
        values = [str(trial.params[key]) for key in keys]
        lines.append([str(trial.number), *values, str(trial.epochs), score, session.status(trial)])
    return "\n".join(align_to_fit(lines, columns(sys.stdout), ("epochs", "status")))


def _score(trial: "Trial") -> str:
    return f"epoch {trial.epochs}: val/acc {trial.scores[-1]:.4f}" if trial.scores else "not trained yet"


def _finish(session: "Session") -> None:
    """Test the winner, and print the importances and the winner's command."""
    winner = session.winner()
    if winner is None:
        raise RunError("no trial was trained to its last epoch")
    importance = f"importance for val/acc after epoch {session.levels[0]}: {session.importances()}"
    print(fill(importance, columns(sys.stdout) or len(importance), subsequent_indent="  "))
    print(fit(f"winner: trial {winner.number}: {summarise(session.test(winner))}  {winner.run.path}", sys.stdout))
    print(command_line("mnist_cnn.train", *session.command(winner)))


if __name__ == "__main__":
    run_command(main)
