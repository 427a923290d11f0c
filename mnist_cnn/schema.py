"""The types and bounds of the configuration, one class per group. The defaults stand in conf/.

A field's default here is another thing: the value that a run was trained with before the key existed. A new key has one
if it can be neutral; then runs, sweeps and searches that were begun before it are resumed after it.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator

Padding = Literal["valid", "same"]
Pooling = Literal["max", "average", "stride", "none"]
Norm = Literal["none", "batch"]
PADDINGS: Final = get_args(Padding)
POOLINGS: Final = get_args(Pooling)
NORMS: Final = get_args(Norm)
MOST_FILTERS: Final = 4096  # or units; a typing error must not fill the memory
MOST_LAYERS: Final = 8
MOST_THREADS: Final = 1024

Filters = Annotated[int, Field(ge=1, le=MOST_FILTERS)]
Mirror = Annotated[str, Field(pattern=r"^((http|https|file)://|([A-Za-z]:)?[^:]+$)")]  # a URL, or a folder
Share = Annotated[float, Field(ge=0, lt=1)]
NotNegative = Annotated[float, Field(ge=0)]

UNSET: Final = "(not set)"
_DEVICE = "trainer.accelerator"  # a run may go on elsewhere

# These settings decide where a run reads and writes and how fast it is, but not what it computes.
_NOT_DECISIVE = {
    "resume",
    "report",
    "job_timeout",
    "threads",
    "logger",
    "checkpoint",
    "data.dir",
    "data.mirrors",
    "data.fallback",
    "hydra.searchpath",
}


def is_decisive(key: str) -> bool:
    """Whether a setting decides what a run computes."""
    return not {key, key.partition(".")[0]} & _NOT_DECISIVE


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
    mirrors: Annotated[list[Mirror], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)]
    fallback: Literal["sample", "error"]
    val_size: int = Field(ge=0, lt=60_000)
    fold: int = Field(0, ge=0, lt=60_000)
    train_size: Annotated[int, Field(ge=1, le=60_000)] | None = None
    epoch_size: Annotated[int, Field(ge=1, le=60_000)] | None = None
    batch_size: int = Field(ge=1, le=60_000)


class Augment(_Group):
    """augment.*: how far training images are distorted."""

    shift: float = Field(0.0, ge=0, le=14)  # pixels
    turn: float = Field(0.0, ge=0, le=180)  # degrees
    scale: Share = 0.0
    shear: float = Field(0.0, ge=0, le=1)
    elastic: float = Field(0.0, ge=0, le=8)  # pixels
    stroke: float = Field(0.0, ge=0, le=4)


class Conv(_Group):
    """model.* of model=conv."""

    name: Literal["conv"]
    padding: Padding
    pooling: Pooling
    channels: list[Filters] = Field(min_length=1, max_length=MOST_LAYERS)
    dropout: Share = 0.0
    norm: Norm = "none"
    hidden: Filters | None = None
    final_pooling: bool = False


class Dense(_Group):
    """model.* of model=dense."""

    name: Literal["dense"]
    hidden: Filters


class Own(_Group, extra="allow"):
    """model.* of one's own network: the full name of its class, and its options."""

    name: str


def _kind_of_model(model: Any) -> str | None:
    name = model.get("name") if isinstance(model, Mapping) else getattr(model, "name", None)
    if not isinstance(name, str) or name == "???":  # OmegaConf's word for a value that must be given
        return None
    return "own" if "." in name else name


class Teacher(_Group):
    """teacher.*: trained networks whose answers are learned instead of the labels."""

    runs: Annotated[str, Field(min_length=1)] | None = None
    temperature: float = Field(1.0, ge=0.1, le=100)


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
    """scheduler.*: a class and its options, or nothing. An option that is null stands for all advances of the run."""

    target: str | None = Field(None, alias="_target_")
    interval: Literal["step", "epoch"] = "step"  # when it advances

    @model_validator(mode="after")
    def _options_need_a_class(self) -> "Scheduler":
        if self.model_extra and self.target is None:
            raise ValueError("it has options but no _target_")
        if self.target is not None and "interval" not in self.model_fields_set:
            raise ValueError("it does not say when it advances: give +scheduler.interval=epoch, or step")
        return self


class Trainer(_Group):
    """trainer.*: the options of Lightning's Trainer that keep a run whole and comparable."""

    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps", "tpu"]
    devices: Annotated[int, Field(ge=1)] | Literal["auto"] | list[int]
    max_epochs: int = Field(ge=1, le=1_000_000)
    num_nodes: int = Field(1, ge=1)
    strategy: Literal["auto", "ddp"] = "auto"
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = "32-true"  # the weights stay float32
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
    threads: Annotated[int, Field(ge=1, le=MOST_THREADS)] | None
    label_smoothing: Share
    ema_decay: Annotated[float, Field(ge=0, lt=1)] | None = None
    resume: str
    report: bool
    job_timeout: Annotated[float, Field(gt=0, le=1e6)] | None = None  # minutes
    checkpoint: Checkpoint
    teacher: Teacher
    data: Data
    augment: Augment
    model: Annotated[
        Annotated[Conv, Tag("conv")] | Annotated[Dense, Tag("dense")] | Annotated[Own, Tag("own")],
        Discriminator(_kind_of_model),
    ]
    optimizer: Optimizer
    scheduler: Scheduler
    trainer: Trainer
    logger: Logger

    def decisive(self) -> dict[str, Any]:
        """Return the settings that decide the result, flat: {"model.padding": "valid", ...}."""
        return decisive(self.to_dict())


def decisive(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what decides the result of a configuration that is nested as in conf/, flat."""
    return {
        f"{group}.{key}" if key else group: value
        for group, values in config.items()
        for key, value in (values.items() if isinstance(values, Mapping) else [("", values)])
        if is_decisive(f"{group}.{key}")
    }


Differences = dict[Any, tuple[Any, Any]]  # by key: the value then, and the value now


def differences(then: Mapping[Any, Any], now: Mapping[Any, Any]) -> Differences:
    """Compare decisive settings. A key that one of them lacks has its neutral value there."""
    pairs = {key: (then.get(key, neutral(key)), now.get(key, neutral(key))) for key in {**now, **then}}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1] and key != _DEVICE}


def outdated_by(then: Mapping[Any, Any], now: Mapping[Any, Any]) -> Differences:
    """Return the differences for which a training cannot go on, but would have to begin anew.

    More epochs are none, unless a scheduler planned its steps by them.
    """
    changed = differences(then, now)
    before, after = changed.get("trainer.max_epochs", (UNSET, UNSET))
    if before != UNSET and after > before and not any(key.startswith("scheduler.") for key in now):
        del changed["trainer.max_epochs"]
    return changed


def neutral(key: Any) -> Any:
    """Return the value that stands for "as before this key existed": the default of its field; UNSET if it has none."""
    group, _, name = str(key).partition(".")
    field = Settings.model_fields.get(group)
    owners = [] if field is None else get_args(field.annotation) or (field.annotation,)  # model.* has two
    fields = [getattr(owner, "model_fields", {}).get(name) for owner in owners] if name else [field]
    values = [each.default for each in fields if each is not None and not each.is_required()]
    return values[0] if values else UNSET


class Range(_Group):
    """The numbers between two bounds that a search tries: whole ones if the bounds are."""

    low: int | float
    high: int | float
    log: bool = False
    step: int | float | None = None


class Search(_Group):
    """A search over hyperparameters: conf/search/."""

    n_trials: int = Field(ge=1, le=10_000)
    seed: int = Field(ge=0, lt=2**31)
    sampler: Literal["tpe", "random"]
    pruner: Literal["halving", "none"]
    reduction: int = Field(ge=2, le=100)
    space: dict[str, Range | Annotated[list[str | int | float | bool], Field(min_length=1)]] = Field(min_length=1)
    overrides: list[str]
