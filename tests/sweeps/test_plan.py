"""A command line stands for the same folders each time, and for new ones only where it computes something else."""

import json
import re
from pathlib import Path

import pytest
from hydra.errors import MissingConfigException

from mnist_cnn.differences import decisive
from mnist_cnn.errors import InputError
from mnist_cnn.files import write_atomically
from mnist_cnn.settings import compose, explain_errors
from mnist_cnn.sweeps.plan import Job, Plan, folder_name, plan


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(planned: Plan) -> list[str]:
    return [job.name for job in planned.jobs]


def test_there_is_a_job_for_each_combination_of_values() -> None:
    planned = plan(["optimizer=adam", "model.padding=valid,same", "seed=range(2)"])
    assert names(planned) == [
        f"model.padding={padding},seed={seed}" for padding in ("valid", "same") for seed in (0, 1)
    ]
    assert planned.jobs[1].overrides == ("optimizer=adam", "model.padding=valid", "seed=1")


def test_the_folder_is_named_by_what_is_shared_and_the_jobs_by_what_is_not(here: Path) -> None:
    first = plan(["trainer.max_epochs=1", "seed=0,1", "optimizer=adam"])
    second = plan(["optimizer=adam", "seed=0,1,2", "trainer.max_epochs=1"])
    assert first.folder == second.folder == Path("outputs/sweeps/optimizer=adam,trainer.max_epochs=1")
    assert names(first) == names(second)[:2] == ["seed=0", "seed=1"]
    assert first.jobs[0].run.path == here / first.folder / "seed=0"
    assert plan(["seed=0,1"]).folder == Path("outputs/sweeps/notebook")


def test_where_a_job_reads_and_writes_changes_no_folder() -> None:
    where = ["data.dir=/x/y", "resume=never", "threads=1", "data.fallback=error", "hydra/job_logging=file"]
    assert plan(["seed=0,1", *where]).folder == plan(["seed=0,1"]).folder


def test_hydra_sweep_dir_rules() -> None:
    planned = plan(["seed=0,1", "optimizer=adam", "hydra.sweep.dir=mine"])
    assert (planned.folder, names(planned)) == (Path("mine"), ["seed=0", "seed=1"])


def test_names_are_short_distinct_and_safe() -> None:
    planned = plan(["data.dir=/a/b,/a_b", "logger.also={_target_:a.b}", "+model.x=" + "long" * 60])
    a, b = names(planned)
    assert a.startswith("data.dir=_a_b-")
    assert a != b
    assert len(planned.folder.name) < 120


def test_a_job_names_its_folder_to_hydra_whatever_is_in_it() -> None:
    planned = plan(["seed=1", "hydra.sweep.dir='it\\'s mine'"])
    composed = planned.loader.load_sweep_config(planned.cfg, planned.jobs[0].all_overrides)
    assert composed.hydra.sweep.dir == str(Path("it's mine").resolve())
    assert composed.hydra.sweep.subdir == "job"


def test_an_experiment_may_hold_the_sweep_and_the_command_line_narrows_it() -> None:
    assert names(plan(["experiment=padding"])) == [
        f"model.padding={padding},seed={seed}" for seed in range(5) for padding in ("valid", "same")
    ]
    assert names(plan(["experiment=padding", "seed=7"])) == ["model.padding=valid", "model.padding=same"]


def test_a_shared_key_that_only_some_choices_have_is_no_error() -> None:
    planned = plan(["optimizer=rmsprop,sgd", "optimizer.nesterov=false"])
    assert len(planned.jobs) == 2


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed=interval(0,1)", r"^seed=interval\(0,1\) is not a list of values: write seed=a,b$"),
        ("seed=range(0)", r"^seed=range\(0\) has no values$"),
    ],
)
def test_a_sweep_without_values_is_refused(override: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        plan([override])


def test_a_launcher_that_is_not_installed_is_named_with_its_command() -> None:
    missing = MissingConfigException("Could not find it", "hydra/launcher/submitit_slurm", ["basic"])
    line = r'submitit_slurm needs a package: pip install "mnist_cnn\[cluster\]"$'
    with pytest.raises(InputError, match=line), explain_errors():
        raise missing


def finish(job: Job, status: str = "complete", lr: float = 0.001) -> None:
    settings = decisive(compose(*job.overrides).to_dict()) | {"optimizer.lr": lr}
    write_atomically(job.run.path / "result.json", json.dumps({"status": status, "settings": settings}).encode())


def test_a_job_is_trained_unless_it_is_complete_or_outdated() -> None:
    planned = plan(["seed=0,1,2,3"])
    complete, failed, other, _ = planned.jobs
    finish(complete)
    finish(failed, "failed")
    finish(other, lr=0.5)
    assert [planned.standing(job).status for job in planned.jobs] == ["complete", "failed", "outdated", "waiting"]
    assert [planned.is_to_train(job) for job in planned.jobs] == [False, True, False, True]
    for resume, trained in (("outdated", [False, True, True, True]), ("never", [True] * 4)):
        again = plan(["seed=0,1,2,3", f"resume={resume}"])
        assert [again.is_to_train(job) for job in again.jobs] == trained


@pytest.mark.parametrize("content", [b"", b"[1]", b"{", b'{"status": 5}', b'{"status": "complete", "overrides": 3}'])
def test_a_damaged_result_counts_as_none(content: bytes) -> None:
    planned = plan(["seed=0,1"])
    write_atomically(planned.jobs[0].run.path / "result.json", content)
    assert planned.is_to_train(planned.jobs[0])


def test_jobs_compose_to_what_a_single_run_would_be() -> None:
    for job in plan(["optimizer=adam,sgd", "model.channels=[4,8],[8]"]).jobs:
        cfg = compose(*job.overrides)
        assert f"model.channels={cfg.model.to_dict()['channels']}".replace(" ", "") in job.name


@pytest.mark.parametrize("text", ["a:b", "a/b\\c", 'a"b', "a|b", "a*b?", "a<b>", "a=1.", "数" * 120, "x" * 300])
def test_a_folder_name_is_allowed_everywhere_and_tells_texts_apart(text: str) -> None:
    name = folder_name([text])
    assert not re.search(r'[<>:"/\\|?*]|[. ]$', name)  # what Windows forbids
    assert len(name.encode()) <= 120
    assert name != folder_name([f"{text}!"])
    assert folder_name(["model.padding=same", "seed=0"]) == "model.padding=same,seed=0"


def test_what_begins_with_hydra_is_hydras_with_any_prefix() -> None:
    given = ["hydra/launcher=joblib", "++hydra.launcher.n_jobs=2", "+hydra.job.env_set.X=y", "seed=0,1"]
    planned = plan(given)
    assert planned.folder == Path("outputs/sweeps/notebook")
    assert [job.overrides for job in planned.jobs] == [("seed=0",), ("seed=1",)]
    assert planned.cfg.hydra.launcher.n_jobs == 2


@pytest.mark.parametrize(("given", "name"), [("seed=0,0", "seed=0"), ("optimizer.lr=0.001,1e-3", "optimizer.lr=0.001")])
def test_a_combination_that_is_given_twice_is_one_job(given: str, name: str) -> None:
    planned = plan([given])
    assert (names(planned), planned.repeated) == ([name], 1)
