"""Folders with your own configuration: `--config-dir DIR`, or `hydra.searchpath=[DIR, ...]`, as in Hydra.

Both become one override with absolute paths. A run records it, and a sweep passes it to its jobs: a job, a resumed run
and a comparison read the same folders, wherever they are started.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from mnist_cnn.errors import InputError

_KEY = "hydra.searchpath"
_FLAGS = ("--config-dir", "-cd")


def with_searchpath(arguments: Iterable[str]) -> list[str]:
    """Return the command line with all folders of configuration in one override, which comes first.

    Raises InputError if one of them is not a folder.
    """
    folders, others, rest = list[Path](), list[str](), iter(arguments)
    for each in rest:
        key, equals, value = each.partition("=")
        if key in _FLAGS:
            folders.append(Path(value if equals else next(rest, "")))
        elif key == _KEY:
            folders += config_dirs([each])
        else:
            others.append(each)
    for folder in folders:
        if not folder.is_dir() or folder == Path():
            raise InputError(f"the configuration folder {folder} does not exist")
    paths = [str(folder.resolve()).replace("\\", "/").replace("'", "\\'") for folder in folders]
    listed = ",".join(f"'{path}'" for path in dict.fromkeys(paths))
    return [f"{_KEY}=[{listed}]", *others] if paths else others


def searchpath(overrides: Iterable[str]) -> tuple[str, ...]:
    """Return the overrides that name folders of configuration, each once."""
    return tuple(dict.fromkeys(each for each in overrides if each.startswith(f"{_KEY}=")))


def config_dirs(overrides: Iterable[str]) -> Iterator[Path]:
    """Yield the folders of configuration that overrides name. Raises InputError if Hydra cannot parse them."""
    try:
        parsed = OverridesParser.create().parse_overrides([*searchpath(overrides)])
    except HydraException as error:
        raise InputError(str(error).partition("\nSee ")[0]) from error
    for override in parsed:
        folders = override.value()
        for folder in folders if isinstance(folders, list) else [folders]:
            yield Path(str(folder).removeprefix("file://"))


def job_overrides() -> list[str]:
    """Return the overrides of the job that Hydra is running, with those that name folders of configuration."""
    given = HydraConfig.get().overrides
    return [*searchpath(given.hydra), *given.task]
