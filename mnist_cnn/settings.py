"""A configuration's keys and values, checked before Lightning is imported or any data read: wrong ones answer soon."""

from collections.abc import Mapping
from inspect import signature
from typing import Any

from mnist_cnn.data import datasets
from mnist_cnn.errors import InputError, one_of, whole_number
from mnist_cnn.model.nets import build_net
from mnist_cnn.model.optimizers import check_steps
from mnist_cnn.runs.directory import Run

_GROUPS = ("checkpoint", "data", "logger", "model", "optimizer", "scheduler", "trainer")
_PRECISIONS = ("32-true", "16-mixed", "bf16-mixed")  # weights stay float32, as every command reads them
# What may be asked of Lightning's Trainer: the rest is ours to set, or would cut a run's meaning short.
_TRAINER_KEYS = (
    *("accelerator", "devices", "num_nodes", "strategy", "precision", "max_epochs", "accumulate_grad_batches"),
    *("gradient_clip_val", "gradient_clip_algorithm", "deterministic", "benchmark", "detect_anomaly", "profiler"),
)
_DATA_KEYS = ("dir", *signature(datasets.check).parameters)
_KEYS = {"checkpoint": ("every_steps",), "data": _DATA_KEYS, "logger": ("csv", "also"), "trainer": _TRAINER_KEYS}
_ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps", "tpu")


def check(config: Mapping[str, Any], run: Run) -> None:
    """Raise InputError for the first key or value that cannot be used, whatever the data and the devices."""
    for group in _GROUPS:
        if not isinstance(config.get(group), Mapping):
            raise InputError(f"{group}={config.get(group)} cannot be used: --help lists the choices")
    for key in config:
        one_of("the key", key, ("seed", "label_smoothing", "resume", *_GROUPS))
    for group, keys in _KEYS.items():
        for key in config[group]:
            one_of(f"the key {group}.*", key, keys)
    whole_number("seed", config.get("seed"), 0, 2**32 - 1)
    smoothing = config.get("label_smoothing")
    if not isinstance(smoothing, int | float) or isinstance(smoothing, bool) or not 0 <= smoothing < 1:
        raise InputError(f"label_smoothing={smoothing} cannot be used: give a number from 0 to below 1")
    whole_number("trainer.max_epochs", config["trainer"].get("max_epochs"), 1, 10**6)
    one_of("trainer.accelerator", config["trainer"].get("accelerator"), _ACCELERATORS)
    one_of("trainer.precision", config["trainer"].get("precision", "32-true"), _PRECISIONS)
    whole_number("trainer.accumulate_grad_batches", config["trainer"].get("accumulate_grad_batches", 1), 1)
    if config["checkpoint"].get("every_steps") is not None:
        whole_number("checkpoint.every_steps", config["checkpoint"]["every_steps"], 1)
    also = config["logger"].get("also")
    if also is not None and not (isinstance(also, Mapping) and isinstance(also.get("_target_"), str)):
        raise InputError(f"logger.also={also} cannot be used: give _target_ and its options, or null")
    run.resume_from(config.get("resume"))
    if not isinstance(config["data"].get("dir"), str):
        raise InputError(f"data.dir={config['data'].get('dir')} cannot be used: give a folder")
    datasets.check(**{key: value for key, value in config["data"].items() if key != "dir"})
    check_steps(config["optimizer"], config["scheduler"], build_net(**config["model"]).parameters())
