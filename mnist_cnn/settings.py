"""The configuration: composed by Hydra from conf/ and checked before anything heavy is imported."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError
from pydantic_core import ErrorDetails
from yaml import YAMLError  # type: ignore[import-untyped]

from mnist_cnn.errors import InputError, abbreviate, did_you_mean, missing_package, one_of
from mnist_cnn.help_text import list_groups, list_keys, read_comments
from mnist_cnn.schema import Conv, Data, Dense, Search, Settings
from mnist_cnn.searchpath import config_dirs, with_searchpath

_HERE = Path(__file__).parent
CONF = next(folder for folder in (_HERE / "conf", _HERE.parent / "conf") if folder.is_dir())  # installed, or not
_LAUNCHERS = {"joblib": "sweep", "submitit_local": "cluster", "submitit_slurm": "cluster", "ray": "cluster"}  # extras
SEARCH_KEYS = ("search", "search.dir", "search.seed", "n_trials", "sampler", "pruner", "reduction")
_PATHS = ("resume", "start_from", "teacher.runs", "data.dir", "hydra.run.dir", "hydra.sweep.dir")

_ERRORS = (HydraException, OmegaConfBaseException, YAMLError, ValueError, OSError)  # the last: of a run's folder


def compose(*overrides: str) -> Settings:
    """Return the settings that `python -m mnist_cnn.train` would use with these overrides.

    Raises InputError, one line about the first key or value that is wrong.
    """
    with explain_errors():
        cfg = _compose(*overrides)
    return load(cfg)


def load(cfg: DictConfig) -> Settings:
    """Check a composed configuration, and give it types. Raises InputError as `compose` does."""
    with explain_errors():
        return Settings.model_validate(OmegaConf.to_container(cfg, resolve=True))


def load_search(name: str, changes: Sequence[str] = (), overrides: Sequence[str] = ()) -> Search:
    """Read search/NAME.yaml in conf/, or in a folder that overrides name, with changes such as `n_trials=50`.

    Raises InputError if there is no such file, or about the first key or value that is wrong.
    """
    files = {file.stem: file for folder in (CONF, *config_dirs(overrides)) for file in folder.glob("search/*.yaml")}
    one_of("search", name, sorted(files))
    with explain_errors():
        cfg = OmegaConf.merge(OmegaConf.load(files[name]), OmegaConf.from_dotlist([*changes]))
        return Search.model_validate(OmegaConf.to_container(cfg, resolve=True))


def conf_digest(overrides: Sequence[str] = ()) -> str:
    """Hash conf/ and the folders that overrides name. Equal overrides and an equal digest mean equal settings."""
    files = [file for folder in (CONF, *config_dirs(overrides)) for file in sorted(folder.rglob("*.yaml"))]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


def quote(text: object) -> str:
    """Quote a value for Hydra's command line, if necessary."""
    plain = str(text)
    if re.fullmatch(r"[A-Za-z0-9_./+-]+", plain):
        return plain
    escaped = re.sub(r"(\\+)(?='|$)", r"\1\1", plain)  # Hydra keeps the other backslashes
    return "'" + escaped.replace("'", "\\'") + "'"


def by_key(overrides: Iterable[str]) -> dict[str, str]:
    """Return the values of overrides by key. Of two equal keys the last counts."""
    return dict(each.partition("=")[::2] for each in overrides)


def without(overrides: Iterable[str], *keys: str) -> list[str]:
    """Return the overrides of other keys."""
    return [each for each in overrides if each.partition("=")[0] not in keys]


def has_several_values(override: str) -> bool:
    """Whether a sweep would take an override apart: KEY=a,b. What cannot be parsed is reported elsewhere."""
    try:
        return OverridesParser.create().parse_override(override).is_sweep_override()
    except HydraException:
        return False


def quote_paths(overrides: Iterable[str], sweep: bool = False) -> list[str]:
    """Quote the paths among overrides that Hydra would read as something else, such as resume=outputs/sweeps/x/seed=0.

    In a sweep a list of paths stays a list.
    """
    return [_quote_path(each, sweep) if each.partition("=")[0] in _PATHS else each for each in overrides]


def _quote_path(override: str, sweep: bool) -> str:
    key, _, value = override.partition("=")
    try:
        parsed = OverridesParser.create().parse_override(override)
        is_share = value.startswith("\\\\")  # Windows' \\server\share: Hydra would read one backslash
        plain = sweep if parsed.is_sweep_override() else isinstance(parsed.value(), str | None) and not is_share
    except HydraException:
        plain = False
    return override if plain else f"{key}={quote(value)}"


@contextmanager
def explain_errors() -> Iterator[None]:
    """Within this context, an error of Hydra, OmegaConf or pydantic becomes an InputError."""
    try:
        yield
    except InputError:
        raise
    except _ERRORS as error:
        raise InputError(explain(error)) from error


def explain(error: Exception) -> str:
    """Write an error about the configuration in one line, with the key or value that was probably meant."""
    if isinstance(error, ValidationError):
        return _explain_value(error.errors()[0])
    if isinstance(error, MissingConfigException) and error.options:
        group, _, value = str(error.missing_cfg_file).rpartition("/")
        return _explain_choice(group, value, error.options)
    message = " ".join(str(error).split("Config search path")[0].split())
    if message.startswith("Config group override"):  # model=null
        return "a group cannot be null: --help lists its choices"
    if existing := re.match(r"Could not append to config. An item is already at '(\S+)'", message):
        return f"{existing[1]} exists already: drop the +"
    if not_a_pair := re.match(r"Error parsing override '([^']*)' missing EQUAL", message):
        return f"{not_a_pair[1]} cannot be used: write KEY=VALUE; --help lists all keys"
    if several := re.match(r"Ambiguous value for argument '(.+?)' 1\.", message):
        return f"{several[1]} has several values: add -m to train with each; a value that is a list is written [a,b]"
    if (unknown := re.match(r"Could not override '(\S+)'", message)) is None:
        return message
    defaults: dict[str, Any] = OmegaConf.to_container(_compose())  # type: ignore[assignment]
    nested = [f"{group}.{key}" for group, keys in defaults.items() if isinstance(keys, dict) for key in keys]
    if unknown[1] in SEARCH_KEYS:
        return f"{unknown[1]} is a key of a search: python -m mnist_cnn.search"
    known = [*defaults, *nested, "experiment", *(key for key in SEARCH_KEYS if "." not in key)]
    if unknown[1] in nested:
        return f"there is no key {unknown[1]} with this choice of {unknown[1].partition('.')[0]}"
    if not (meant := did_you_mean(unknown[1], known)) and unknown[1].startswith("model."):
        return f"there is no key {unknown[1]}: for a network of your own write +{unknown[1]}=VALUE"
    return f"there is no key {unknown[1]}{meant}; --help lists all keys"


def _explain_choice(group: str, value: str, choices: Sequence[str]) -> str:
    """List the choices of a group, or name the key that takes this value, or the package that provides it."""
    if group == "data" and value in get_args(Data.model_fields["name"].annotation):
        return f"data={value} is not known: set data.name={value}"
    if group == "hydra/launcher" and value in _LAUNCHERS:
        return str(missing_package(f"{group}={value} needs a package", _LAUNCHERS[value]))
    return f"{group}={value} is not known: choose one of {', '.join(choices)}{did_you_mean(value, choices)}"


def _list_configuration(_root_: DictConfig) -> str:
    """List all groups and keys for --help, with the comments of the chosen files."""
    folders = (CONF, *map(Path, _root_.hydra.searchpath))
    files = [file for folder in folders for file in sorted(folder.glob("*/*.yaml"))]
    comments, choices = read_comments(CONF / "train.yaml"), _root_.hydra.runtime.choices
    for file in files:
        if choices.get(file.parent.name) == file.stem:
            comments |= read_comments(file, file.parent.name)
    ours = OmegaConf.masked_copy(_root_, [str(key) for key in _root_ if key != "hydra"])
    config: dict[str, Any] = OmegaConf.to_container(ours, resolve=True)  # type: ignore[assignment]
    keys = list_keys(config, comments)
    text = f"== Groups (group=choice) ==\n{list_groups(files)}\n\n== Keys (key=value) ==\n{keys}"
    return text.replace("$", "$$")  # Hydra substitutes in it


OmegaConf.register_new_resolver("list_configuration", _list_configuration, replace=True)  # conf/hydra/help/short.yaml


def _compose(*overrides: str) -> DictConfig:
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra.compose("train", overrides=quote_paths(with_searchpath(overrides)))


def _explain_value(error: ErrorDetails) -> str:
    """Write an error of pydantic, with keys and values as on the command line."""
    path = [str(part) for part in error["loc"]]
    if path[0] == "model" and len(path) > 2:
        del path[1]  # the name of the network, which pydantic puts there
    key, value, context = ".".join(path[:2]), abbreviate(error["input"]), error.get("ctx", {})
    if error["type"].startswith("union_tag"):  # the network's name decides which options it has
        key, value = "model.name", abbreviate(context.get("tag"))
    if error["type"] in ("missing", "union_tag_not_found"):
        return f"{key} is missing: --help lists the choices"
    if error["type"] == "extra_forbidden":
        return _explain_unknown(path[:2], error["loc"])
    if error["type"] in ("literal_error", "union_tag_invalid"):
        allowed = str(context.get("expected") or context["expected_tags"]).replace("'", "")
        allowed = allowed.replace(", own", " or the full name of a class of yours")
        return f"{key}={value} is not known: choose {allowed}{did_you_mean(value, re.split(', | or ', allowed))}"
    reason = re.sub("^(Input|String|Value|List) should", "it should", error["msg"]).removeprefix("Value error, ")
    return f"{key}={value} cannot be used: {re.sub(' or instance of .*| after validation', '', reason)}"


def _explain_unknown(path: list[str], location: tuple[int | str, ...]) -> str:
    """List the keys of the group that has no such key."""
    group: Any
    if path[0] == "model":
        group, owner = {"conv": Conv, "dense": Dense}[str(location[1])], f"model={location[1]}"
    elif len(path) > 1:
        group, owner = Settings.model_fields[path[0]].annotation, path[0]
    else:
        group, owner = Settings, "the configuration"
    keys = [name for name in group.model_fields if name != "name"]
    if path == ["experiment"]:
        return "an experiment's file must begin with the line # @package _global_"
    hint = "; to try things quickly: data.name=sample trainer.max_epochs=1" if owner == "trainer" else ""
    return f"there is no key {'.'.join(path)}: {owner} has {', '.join(keys)}{did_you_mean(path[-1], keys)}{hint}"
