"""The configuration: composed by Hydra from conf/, typed, and checked before anything heavy is imported.

The defaults stand in conf/. Here stand the types and the bounds, one class per group.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import hydra
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from mnist_cnn.errors import InputError, abbreviate, did_you_mean

_HERE = Path(__file__).parent
CONF = next(folder for folder in (_HERE / "conf", _HERE.parent / "conf") if folder.is_dir())  # installed, or not

PADDINGS: Final = ("valid", "same")
POOLINGS: Final = ("max", "average", "stride", "none")
MOST_FILTERS: Final = 4096  # or units; a typing error must not fill the memory
MOST_LAYERS: Final = 8

Filters = Annotated[int, Field(ge=1, le=MOST_FILTERS)]
Url = Annotated[str, Field(pattern=r"^(http|https|file)://")]
Share = Annotated[float, Field(ge=0, lt=1)]
NotNegative = Annotated[float, Field(ge=0)]

# These settings decide where a run reads and writes and how fast it is, but not what it computes.
_NOT_DECISIVE = {"resume", "threads", "logger", "checkpoint", "data.dir", "data.mirrors", "data.fallback"}


class _Group(BaseModel):
    """Strict: an integer is no boolean, text is no number, a key that is not listed is an error."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the keys and values as they were given: primitives, nested as in conf/."""
        return self.model_dump(by_alias=True, exclude_unset=True)


class Data(_Group):
    """data.*: which images, and where they come from."""

    dir: Annotated[str, Field(min_length=1)]
    name: Literal["mnist", "fashion_mnist", "kmnist", "qmnist", "sample"]
    mirrors: Annotated[list[Url], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)]
    fallback: Literal["sample", "error"]
    val_size: int = Field(ge=0, lt=60_000)
    batch_size: int = Field(ge=1, le=60_000)


class Conv(_Group):
    """model.* of model=conv."""

    name: Literal["conv"]
    padding: Literal["valid", "same"]
    pooling: Literal["max", "average", "stride", "none"]
    channels: list[Filters] = Field(min_length=1, max_length=MOST_LAYERS)


class Dense(_Group):
    """model.* of model=dense."""

    name: Literal["dense"]
    hidden: Filters


class Optimizer(_Group, extra="allow"):
    """optimizer.*: a class and its options. The common ones are typed; the class itself checks the others."""

    target: str = Field(alias="_target_")
    lr: NotNegative
    momentum: Share | None = None
    rho: Share | None = None
    betas: Annotated[list[Share], Field(min_length=2, max_length=2)] | None = None
    weight_decay: NotNegative | None = None
    nesterov: bool | None = None
    centered: bool | None = None


class Scheduler(_Group, extra="allow"):
    """scheduler.*: a class and its options, or nothing. An option that is null stands for all steps of the run."""

    target: str | None = Field(None, alias="_target_")

    @model_validator(mode="after")
    def _options_need_a_class(self) -> "Scheduler":
        if self.model_extra and self.target is None:
            raise ValueError("it has options but no _target_")
        return self


class Trainer(_Group):
    """trainer.*: the options of Lightning's Trainer that keep a run whole and comparable."""

    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps", "tpu"]
    devices: Annotated[int, Field(ge=1)] | Literal["auto"] | list[int]
    max_epochs: int = Field(ge=1, le=1_000_000)
    num_nodes: int = Field(1, ge=1)
    strategy: Literal["auto", "ddp"] = "auto"
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = (
        "32-true"  # weights stay float32, as all commands read them
    )
    gradient_clip_val: NotNegative | None = None
    gradient_clip_algorithm: Literal["norm", "value"] = "norm"
    deterministic: bool | Literal["warn"] | None = None
    benchmark: bool | None = None
    detect_anomaly: bool = False
    profiler: Literal["simple", "advanced", "pytorch"] | None = None


class Checkpoint(_Group):
    """checkpoint.*."""

    every_steps: Annotated[int, Field(ge=1)] | None


class Logger(_Group):
    """logger.*."""

    csv: bool
    also: dict[str, Any] | None  # a logger of Lightning's, as _target_ and its options


class Settings(_Group):
    """The whole configuration of a training."""

    seed: int = Field(ge=0, lt=2**32)
    threads: Annotated[int, Field(ge=1, le=1024)] | None
    label_smoothing: Share
    resume: str
    checkpoint: Checkpoint
    data: Data
    model: Annotated[Conv | Dense, Field(discriminator="name")]
    optimizer: Optimizer
    scheduler: Scheduler
    trainer: Trainer
    logger: Logger

    def decisive(self) -> dict[str, Any]:
        """Return the settings that decide the result, flat: {"model.padding": "valid", ...}."""
        return {
            f"{group}.{key}" if key else group: value
            for group, values in self.to_dict().items()
            for key, value in (values.items() if isinstance(values, Mapping) else [("", values)])
            if group not in _NOT_DECISIVE and f"{group}.{key}" not in _NOT_DECISIVE
        }

    def digest(self) -> str:
        """Hash the decisive settings: 12 hexadecimal digits."""
        return hashlib.sha256(json.dumps(self.decisive(), sort_keys=True).encode()).hexdigest()[:12]


def compose(*overrides: str) -> Settings:
    """Return the settings that `python -m mnist_cnn.train` would use with these overrides."""
    return load(_compose(*overrides))


def load(cfg: DictConfig) -> Settings:
    """Type and check a composed configuration.

    Raises InputError, one line for the first key or value that cannot be used.
    """
    try:
        return Settings.model_validate(OmegaConf.to_container(cfg, resolve=True))
    except OmegaConfBaseException as error:
        raise InputError(str(error)) from error
    except ValidationError as error:
        raise InputError(_explain(error.errors()[0])) from error


def explain_hydra(error: Exception) -> str:
    """Shorten Hydra's message about an override, and name the key that was probably meant."""
    message = str(error).split("Config search path")[0]
    if (unknown := re.match(r"Could not override '(\S+)'", message)) is None:
        return message
    defaults: dict[str, Any] = OmegaConf.to_container(_compose())  # type: ignore[assignment]
    nested = [f"{group}.{key}" for group, keys in defaults.items() if isinstance(keys, dict) for key in keys]
    if unknown[1] in nested:
        return f"there is no key {unknown[1]} with this choice of {unknown[1].partition('.')[0]}"
    return f"there is no key {unknown[1]}{did_you_mean(unknown[1], [*defaults, *nested])}; --help lists all keys"


def _compose(*overrides: str) -> DictConfig:
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra.compose("train", overrides=list(overrides))


def _explain(error: ErrorDetails) -> str:
    """Write one of pydantic's errors the way the command line writes keys and values."""
    path = [str(part) for part in error["loc"]]
    if path[0] == "model" and len(path) > 2:
        del path[1]  # the name of the network, which pydantic puts there
    key, value, context = ".".join(path[:2]), abbreviate(error["input"]), error.get("ctx", {})
    if error["type"].startswith("union_tag"):  # the name of the network tells which of its options there are
        key, value = "model.name", abbreviate(context.get("tag"))
    if error["type"] in ("missing", "union_tag_not_found"):
        return f"{key} is missing: --help lists the choices"
    if error["type"] == "extra_forbidden":
        return _explain_unknown(path[:2], error["loc"])
    if error["type"] in ("literal_error", "union_tag_invalid"):
        allowed = str(context.get("expected") or context["expected_tags"]).replace("'", "")
        return f"{key}={value} is not known: give {allowed}{did_you_mean(value, re.split(', | or ', allowed))}"
    reason = re.sub("^(Input|String|Value|List) should", "it should", error["msg"]).removeprefix("Value error, ")
    return f"{key}={value} cannot be used: {re.sub(' or instance of .*| after validation', '', reason)}"


def _explain_unknown(path: list[str], location: tuple[int | str, ...]) -> str:
    """Name the keys of the group that has no such key."""
    group: Any = Settings
    if path[0] == "model":
        group = Conv if location[1] == "conv" else Dense
    elif len(path) > 1:
        group = Settings.model_fields[path[0]].annotation
    keys = [field.alias or name for name, field in group.model_fields.items() if name != "name"]
    owner = f"{path[0]}={location[1]}" if path[0] == "model" else path[0] if len(path) > 1 else "the configuration"
    hint = "; to try things quickly: data.name=sample trainer.max_epochs=1" if path[0] == "trainer" else ""
    return f"there is no key {'.'.join(path)}: {owner} has {', '.join(keys)}{did_you_mean(path[-1], keys)}{hint}"
