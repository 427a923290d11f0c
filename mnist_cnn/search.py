"""Search for good hyperparameters: `python -m mnist_cnn.search [search=NAME] [n_trials=N] [KEY=VALUE ...]`.

conf/search/NAME.yaml lists what is tried; other overrides hold for every trial. Run the same command again to continue,
also after kill -9. Several processes may share a search. Trials are ranked by val/acc; only the winner is tested.
"""

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_cnn.cli import Parser, command_line, run_command
from mnist_cnn.differences import is_decisive
from mnist_cnn.errors import InputError, RunError, did_you_mean, missing_package
from mnist_cnn.runs.table import align
from mnist_cnn.schema import Range, Settings
from mnist_cnn.searchpath import with_searchpath
from mnist_cnn.settings import compose, load_search
from mnist_cnn.signals import Stopped
from mnist_cnn.sweeps.job import check_single_process
from mnist_cnn.sweeps.plan import folder_name
from mnist_cnn.training.start import summarise

if TYPE_CHECKING:
    from mnist_cnn.searches.session import Session
    from mnist_cnn.searches.trials import Trial


_OWN = ("search", "search.dir", "search.seed", "n_trials", "sampler", "pruner", "reduction")


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, search, and print the trials, what mattered, and the winner's command.

    Returns the exit status: 1 if a trial failed.
    """
    parser = Parser(prog="python -m mnist_cnn.search", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="search=NAME, n_trials=N, or as for train")
    given = parser.parse_args(with_searchpath(sys.argv[1:] if arguments is None else arguments)).overrides
    session = _open(given)
    try:
        for trial in session.run():
            said = f"failed: {trial.run.result()['error']}" if trial.run.has_failed() else _score(trial)
            print(f"trial {trial.number}: {said}  {' '.join(trial.overrides)}", file=sys.stderr, flush=True)
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
    pairs = [each.partition("=") for each in given]
    own = {key: value for key, _, value in pairs if key in _OWN}
    others = [each for each in given if each.partition("=")[0] not in _OWN]
    for key in {each.partition("=")[0] for each in others} - Settings.model_fields.keys():
        if meant := did_you_mean(key, _OWN):
            raise InputError(f"there is no key {key}{meant}")
    name, folder = own.pop("search", "default"), own.pop("search.dir", None)
    search = load_search(name, [f"{key.removeprefix('search.')}={value}" for key, value in own.items()], others)
    overrides = (*search.overrides, *others)
    first = [f"{key}={values.low if isinstance(values, Range) else values[0]}" for key, values in search.space.items()]
    settings = compose(*overrides, *first)
    check_single_process(settings)
    if not settings.data.val_size:
        raise InputError("data.val_size=0 cannot be used: a search ranks by val/acc: give data.val_size=5000")
    if settings.resume != "auto" or not settings.logger.csv:
        raise InputError("resume and logger.csv cannot be changed in a search, which resumes from metrics.csv")
    if settings.report:
        raise InputError("report=true cannot be used in a search: python -m mnist_cnn.report shows its winner")
    for key in [each.partition("=")[0] for each in others]:
        if key in search.space:
            raise InputError(f"{key} is in the search space of search={name} and cannot be fixed: give another search")
    from mnist_cnn.searches.session import Session  # imports Optuna

    own.pop("n_trials", None)
    decisive = [each for each in others if is_decisive(each.partition("=")[0])]
    named = [f"{key}={value}" for key, value in own.items()]
    # earlier versions named the folder by all overrides
    folders = [
        Path("outputs") / "searches" / folder_name([name, *sorted([*given, *named])]) for given in (decisive, others)
    ]
    where = Path(folder) if folder else next((each for each in reversed(folders) if each.is_dir()), folders[0])
    session = Session(search, where, overrides, settings.trainer.max_epochs)
    session.begin()
    return session


def _table(session: "Session") -> str:
    trials = sorted(session.trials(), key=lambda trial: (-trial.epochs, -max(trial.scores[-1:], default=0.0)))
    keys = [*session.search.space]
    lines = [["trial", *keys, "epochs", "val/acc", "status"]]
    for trial in trials:
        score = f"{trial.scores[-1]:.4f}" if trial.scores else ""
        values = [str(trial.params[key]) for key in keys]
        lines.append([str(trial.number), *values, str(trial.epochs), score, session.status(trial)])
    return "\n".join(align(lines))


def _score(trial: "Trial") -> str:
    return f"epoch {trial.epochs}: val/acc {trial.scores[-1]:.4f}" if trial.scores else "not trained yet"


def _finish(session: "Session") -> None:
    """Test the winner, and print what mattered and its command."""
    winner = session.winner()
    if winner is None:
        raise RunError("no trial was trained to the end")
    print(
        f"importance for val/acc after epoch {session.levels[0]}: {session.proposals().importances(session.trials())}"
    )
    print(f"winner: trial {winner.number}: {summarise(session.test(winner))}  {winner.run.path}")
    print(command_line("mnist_cnn.train", *session.command(winner)))


if __name__ == "__main__":
    run_command(main)
