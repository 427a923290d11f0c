"""The types and bounds of the configuration, one class per group. The defaults are in conf/.

A default in this file is the value that runs had before the key existed. With it, older runs can be resumed.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator

Padding = Literal["valid", "same"]
Pooling = Literal["max", "average", "stride", "none"]
Norm = Literal["none", "batch"]
Reading = Literal["ink", "resize"]
PADDINGS, POOLINGS, NORMS = get_args(Padding), get_args(Pooling), get_args(Norm)
MOST_LAYERS, MOST_THREADS, MOST_IMAGES = 8, 1024, 10_000_000
Filters = Annotated[int, Field(ge=1, le=4096)]  # or units; a typo must not fill the memory
Mirror = Annotated[str, Field(pattern=r"^((http|https|file)://|([A-Za-z]:)?[^:]+$)")]  # a URL, or a folder
Share = Annotated[float, Field(ge=0, lt=1)]
NotNegative = Annotated[float, Field(ge=0)]


class _Group(BaseModel):
    """Strict: values are not converted to the type expected, and unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the keys and values that were given, as primitives, nested as in conf/."""
        return self.model_dump(by_alias=True, exclude_unset=True)


class Data(_Group):
    """data.*: which images, and where they come from."""

    dir: Annotated[str, Field(min_length=1)]
    name: Literal["mnist", "fashion_mnist", "kmnist", "qmnist", "sample", "folder"]
    mirrors: Annotated[list[Mirror], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)]
    fallback: Literal["sample", "error"]
    val_size: int = Field(ge=0, lt=MOST_IMAGES)
    fold: int = Field(0, ge=0, lt=MOST_IMAGES)
    train_size: Annotated[int, Field(ge=1, le=MOST_IMAGES)] | None = None
    epoch_size: Annotated[int, Field(ge=1, le=MOST_IMAGES)] | None = None
    batch_size: int = Field(ge=1, le=60_000)
    reading: Reading = "ink"  # of your own pictures
    test_size: float = Field(0.2, gt=0, le=0.5)


class Augmentation(_Group):
    """augment.*: the largest distortions of training images: uniform from minus to plus, `elastic` normal."""

    shift: float = Field(0.0, ge=0, le=14)  # pixels, along both axes
    turn: float = Field(0.0, ge=0, le=180)  # degrees
    scale: Share = 0.0  # each axis by itself: 0.1 makes it 0.9 to 1.1 times as long
    shear: float = Field(0.0, ge=0, le=1)  # the top moves sideways by this share of the height
    elastic: float = Field(0.0, ge=0, le=8)  # pixels: the root mean square of the movement
    stroke: float = Field(0.0, ge=0, le=4)  # the u in 2^u, the power of brightness 0-1: u > 0 thins strokes

    def __bool__(self) -> bool:
        return any(self.model_dump().values())


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
    """model.* of your own network: the full name of its class, and its options."""

    name: str


def _kind_of_model(model: Any) -> str | None:
    name = model.get("name") if isinstance(model, Mapping) else getattr(model, "name", None)
    if not isinstance(name, str) or name == "???":  # OmegaConf's mark for a missing value
        return None
    return "own" if "." in name else name


class Teacher(_Group):
    """teacher.*: trained networks whose outputs replace the labels."""

    runs: Annotated[str, Field(min_length=1)] | None = None
    temperature: float = Field(1.0, ge=0.1, le=100)


class Optimizer(_Group, extra="allow"):
    """optimizer.*: a class and its options. Common options are typed here; the class checks the others."""

    target: str = Field(alias="_target_")
    lr: NotNegative
    momentum: Share | None = None
    rho: Share | None = None
    betas: Annotated[list[Share], Field(min_length=2, max_length=2)] | None = None
    weight_decay: NotNegative | None = None
    nesterov: bool | None = None
    centered: bool | None = None
    iterations: Annotated[int, Field(ge=1, le=6)] | None = None
    adam_share: NotNegative | None = None


class Scheduler(_Group, extra="allow"):
    """scheduler.*: a class and its options, or nothing. An option of null means the number of its steps in the run."""

    target: str | None = Field(None, alias="_target_")
    interval: Literal["step", "epoch"] = "step"

    @model_validator(mode="after")
    def _options_need_a_class(self) -> "Scheduler":
        if self.model_extra and self.target is None:
            raise ValueError("it has options but no _target_")
        if self.target is not None and "interval" not in self.model_fields_set:
            raise ValueError("it does not say when it advances: give +scheduler.interval=epoch, or step")
        return self


class Trainer(_Group):
    """trainer.*: the options of Lightning's Trainer that work with exact resumption."""

    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps", "tpu"]
    devices: Annotated[int, Field(ge=1)] | Literal["auto"] | list[int]
    max_epochs: int = Field(ge=1, le=1_000_000)
    num_nodes: int = Field(1, ge=1)
    strategy: Literal["auto", "ddp"] = "auto"
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = "32-true"
    gradient_clip_val: NotNegative | None = None
    gradient_clip_algorithm: Literal["norm", "value"] = "norm"
    deterministic: bool | Literal["warn"] | None = None
    benchmark: bool | None = None
    detect_anomaly: bool = False
    profiler: Literal["simple", "advanced", "pytorch"] | None = None
    log_every_n_steps: Annotated[int, Field(ge=1)] | None = None


class Checkpoint(_Group):
    """checkpoint.*."""

    every_steps: Annotated[int, Field(ge=1)] | None


class Logger(_Group):
    """logger.*."""

    csv: bool
    also: dict[str, Any] | None  # a Lightning logger: _target_ and its options


class Settings(_Group):
    """The whole configuration of a training."""

    seed: int = Field(ge=0, lt=2**32)
    threads: Annotated[int, Field(ge=1, le=MOST_THREADS)] | None
    label_smoothing: Share
    ema_decay: Annotated[float, Field(ge=0, lt=1)] | None = None
    class_weights: Literal["balanced"] | None = None
    start_from: Annotated[str, Field(min_length=1)] | None = None
    freeze: list[str] = []
    patience: Annotated[int, Field(ge=1)] | None = None  # epochs
    monitor: Literal["val/loss", "val/acc"] = "val/loss"
    resume: str
    report: bool
    job_timeout: Annotated[float, Field(gt=0, le=1e6)] | None = None  # minutes
    checkpoint: Checkpoint
    teacher: Teacher
    data: Data
    augment: Augmentation
    model: Annotated[
        Annotated[Conv, Tag("conv")]  # a network's options
        | Annotated[Dense, Tag("dense")]
        | Annotated[Own, Tag("own")],
        Discriminator(_kind_of_model),
    ]
    optimizer: Optimizer
    scheduler: Scheduler
    trainer: Trainer
    logger: Logger
    callbacks: dict[str, dict[str, Any] | None] = {}  # of Lightning's or your own: _target_ and its options


class Range(_Group):
    """A range that a search samples: integers if both bounds are integers."""

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
