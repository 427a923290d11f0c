"""Which settings differ between a run and today's configuration, and whether the run can be resumed with them."""

from collections.abc import Mapping
from typing import Any, Final, get_args

from mnist_cnn.schema import Settings

UNSET: Final = "(not set)"
_DEVICE = "trainer.accelerator"  # a run may resume on another device

# where a run reads and writes, and how fast it is
_NOT_DECISIVE = {"resume", "report", "job_timeout", "threads", "logger", "callbacks", "checkpoint", "hydra.searchpath"}
_NOT_DECISIVE |= {"data.dir", "data.mirrors", "data.fallback", "trainer.log_every_n_steps"}

Differences = dict[Any, tuple[Any, Any]]  # by key: the value then, and the value now


def is_decisive(key: str) -> bool:
    """Whether a setting affects the result of a run."""
    return not {key, key.partition(".")[0]} & _NOT_DECISIVE


def decisive(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a nested configuration that affect the result, flat: {"model.padding": "valid", ...}."""
    own = config.get("data", {}).get("name") == "folder"  # then the folder decides which images these are
    return {
        f"{group}.{key}" if key else group: value
        for group, values in config.items()
        for key, value in (values.items() if isinstance(values, Mapping) else [("", values)])
        if is_decisive(f"{group}.{key}") or (own and (group, key) == ("data", "dir"))
    }


def differences(then: Mapping[Any, Any], now: Mapping[Any, Any]) -> Differences:
    """Compare two sets of decisive settings. A missing key has its neutral value."""
    pairs = {key: (then.get(key, neutral(key)), now.get(key, neutral(key))) for key in {**now, **then}}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1] and key != _DEVICE}


def outdated_by(then: Mapping[Any, Any], now: Mapping[Any, Any]) -> Differences:
    """Return the differences that prevent resuming.

    More epochs do not, unless a scheduler planned its steps by their number.
    """
    changed = differences(then, now)
    before, after = changed.get("trainer.max_epochs", (UNSET, UNSET))
    if before != UNSET and after > before and not any(key.startswith("scheduler.") for key in now):
        del changed["trainer.max_epochs"]
    return changed


def neutral(key: Any) -> Any:
    """Return the value that runs had before this key existed: the default of its field, or UNSET if it has none."""
    group, _, name = str(key).partition(".")
    field = Settings.model_fields.get(group)
    owners = [] if field is None else get_args(field.annotation) or (field.annotation,)  # model.* has several
    fields = [getattr(owner, "model_fields", {}).get(name) for owner in owners] if name else [field]
    values = [each.default for each in fields if each is not None and not each.is_required()]
    return values[0] if values else UNSET
