"""Train the notebook's convnet, then test it: `python -m mnist_cnn.train [group=choice ...] [key=value ...]`.

Everything is set in conf/. torch is imported late: --help and unknown keys must not wait for it.
"""

import logging
import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mnist_cnn.errors import InputError, RunError, fail, run_command
from mnist_cnn.runs.directory import InUse, Run, config_hash, write_whole
from mnist_cnn.signals import Stopped

log = logging.getLogger(__name__)

_HERE = Path(__file__).parent
CONF = next(folder for folder in (_HERE / "conf", _HERE.parent / "conf") if folder.is_dir())  # installed, or not


def compose(*overrides: str) -> DictConfig:
    """Return the configuration that the command would train with these overrides."""
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra.compose("train", overrides=list(overrides))


def train(cfg: DictConfig, run: Run, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Train and test what `cfg` says, in the run directory `run`. Returns the result, as in result.json.

    With resume=auto a run that is complete is not trained again, one that was cut goes on.
    Raises InputError, before anything is written, for what cannot be used.
    """
    try:
        config: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    except OmegaConfBaseException as error:
        raise InputError(str(error)) from error
    if _is_done(config, run):
        return run.result()
    from mnist_cnn import settings

    settings.check(config, run)
    first = os.environ.get("LOCAL_RANK", "0") == "0"  # of the processes that train together
    try:
        with run.locked() if first else nullcontext():
            return run.result() if _is_done(config, run) else _train(cfg, config, run, overrides)
    except OSError as error:
        what = f"{error.filename or run.path} cannot be written: {error.strerror or error}"
        raise RunError(f"{what}; what was saved before is whole, and can be gone on from") from error


def _train(cfg: DictConfig, config: dict[str, Any], run: Run, overrides: Sequence[str]) -> dict[str, Any]:
    from mnist_cnn.training.job import assemble

    def on_start() -> None:
        _save_config(cfg, run, overrides)
        if not _in_sweep():
            run.link_latest()

    job = assemble(config, run, on_start)
    if job.trainer.world_size > 1 and _in_sweep():  # the processes that Lightning starts would sweep too
        raise InputError("a sweep runs each job on one device: give trainer.devices=1, or start the jobs one by one")
    return job.fit_and_test(overrides)


def _is_done(config: Mapping[str, Any], run: Run) -> bool:
    """Whether a run need not be trained: it is complete, with the data asked for. The sample may have stood in."""
    asked, result = config.get("data") or {}, run.result()
    enough = result.get("dataset") != "mnist-sample" or "sample" in (asked.get("name"), asked.get("fallback"))
    if done := config.get("resume") == "auto" and run.is_complete(config_hash(config)) and enough:
        log.info("%s is complete already; resume=never trains it again", run.path)
    return done


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="train")
def main(cfg: DictConfig) -> dict[str, Any]:
    """Train one job of the command line."""
    run = Run(Path(HydraConfig.get().runtime.output_dir).resolve())
    first = os.environ.get("LOCAL_RANK", "0") == "0"  # of the processes that train together
    try:
        result = train(cfg, run, OmegaConf.to_container(HydraConfig.get().overrides.task))  # type: ignore[arg-type]
    except (InputError, RunError) as error:
        if _in_sweep():  # this job failed; the others go on
            log.error("error: %s", error)
            raise RunError(f"{run.path.name}: {error}") from error
        if first and not isinstance(error, InUse):
            run.discard_if_empty()
        fail(error, status=2 if isinstance(error, InputError) else 1)
    except Stopped:
        if first and run.last.is_file():
            log.info("stopped; to go on: %s", _command_to_go_on(run))
        elif first:
            run.discard_if_empty()
        raise
    except Exception:
        if _in_sweep():
            log.exception("failed")
        raise
    if first:
        validation = f"val/acc {result['val/acc']:.4f}  " if "val/acc" in result else ""
        log.info(
            f"{result['dataset']}: {validation}test/acc {result['test/acc']:.4f}  test/loss {result['test/loss']:.4f}  "
            f"on {result['test_images']:,} test images  {os.path.relpath(run.path)}"
        )
    return result


def command() -> None:
    """Run main, with Hydra's errors as one line and exit status 2."""
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        main()
        return
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises instead of printing and exiting with 1
    try:
        main()
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(_explain(error)) from error
    except OSError as error:
        raise InputError(f"{error.filename} cannot be written: {error.strerror}: give another hydra.run.dir") from error
    finally:
        del os.environ["HYDRA_FULL_ERROR"]


def _save_config(cfg: DictConfig, run: Run, overrides: Sequence[str]) -> None:
    """Write .hydra/ as Hydra would, but not for a command that was refused."""
    parts = {"config": cfg, "overrides": OmegaConf.create(list(overrides))}
    if HydraConfig.initialized():
        parts["hydra"] = OmegaConf.create({"hydra": HydraConfig.get()})
    for name, part in parts.items():
        write_whole(run.path / ".hydra" / f"{name}.yaml", OmegaConf.to_yaml(part).encode())


def _command_to_go_on(run: Run) -> str:
    """Write this command line so that it goes on in the same directory."""
    key, folder = "hydra.run.dir", run.path
    if _in_sweep():
        key, folder = "hydra.sweep.dir", Path(HydraConfig.get().sweep.dir).resolve()
    flags = [argument for argument in sys.argv[1:] if argument in ("-m", "--multirun")]
    kept = [
        argument
        for argument in sys.argv[1:]
        if argument not in flags and not argument.lstrip("+").startswith(("resume=", f"{key}="))
    ]
    where = os.path.relpath(folder, HydraConfig.get().runtime.cwd)
    return shlex.join(["python", "-m", "mnist_cnn.train", *flags, *kept, f"{key}={where}"])


def _in_sweep() -> bool:
    return HydraConfig.initialized() and HydraConfig.get().mode is RunMode.MULTIRUN


def _explain(error: Exception) -> str:
    """Shorten Hydra's message, and for a mistyped key name the one that was meant."""
    message = str(error).split("Config search path")[0]
    if (unknown := re.match(r"Could not override '(\S+)'", message)) is None:
        return message
    defaults: dict[str, Any] = OmegaConf.to_container(compose())  # type: ignore[assignment]
    nested = [f"{group}.{key}" for group, keys in defaults.items() if isinstance(keys, dict) for key in keys]
    if unknown[1] in nested:
        return f"there is no key {unknown[1]} with this choice of {unknown[1].partition('.')[0]}"
    close = get_close_matches(unknown[1], [*defaults, *nested], n=1)
    return f"there is no key {unknown[1]}" + (f": did you mean {close[0]}?" if close else "; --help lists all")


if __name__ == "__main__":
    run_command(command)
