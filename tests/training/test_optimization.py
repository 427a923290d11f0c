from typing import Any

import pytest
import torch

from mnist_cnn.errors import InputError
from mnist_cnn.training.optimization import build_optimizer, build_scheduler, rehearse


@pytest.mark.parametrize(
    "options",
    [
        {"_target_": "torch.optim.Adam", "lr": -1},
        {"_target_": "torch.optim.Adam", "learning_rate": 1},
        {"_target_": "torch.optim.Adamm"},
        {"_target_": "no.such.module.Adam"},
        {"_target_": "Adam"},
        {"_target_": "os.getcwd"},
        {"_target_": "torch.optim.lr_scheduler.StepLR"},
    ],
)
def test_an_optimizer_that_cannot_be_built_is_explained(options: dict[str, object]) -> None:
    with pytest.raises(InputError, match="optimizer="):
        build_optimizer(options, [torch.nn.Parameter(torch.ones(1))])


def test_null_in_a_scheduler_stands_for_all_steps() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    options = {"_target_": "torch.optim.lr_scheduler.CosineAnnealingLR", "T_max": None, "eta_min": 0.1}
    config = build_scheduler(options, optimizer, steps=8)
    assert config["interval"] == "step"
    scheduler, rates = config["scheduler"], []
    for _ in range(8):
        optimizer.step()
        scheduler.step()
        rates.append(scheduler.get_last_lr()[0])
    assert rates[3] == pytest.approx(0.55)
    assert rates[-1] == pytest.approx(0.1)


def test_no_scheduler_is_none() -> None:
    assert build_scheduler({}, torch.optim.SGD([torch.nn.Parameter(torch.ones(1))]), steps=8) is None


class ForVectors(torch.optim.SGD):
    def step(self, closure: Any = None) -> Any:
        if any(weight.ndim > 1 for group in self.param_groups for weight in group["params"]):
            raise ValueError("only vectors")
        return super().step(closure)


COSINE = {"_target_": "torch.optim.lr_scheduler.CosineAnnealingLR", "T_max": None}
ONE_CYCLE = {"_target_": "torch.optim.lr_scheduler.OneCycleLR", "max_lr": 0.1, "total_steps": 10}
ADAM = {"_target_": "torch.optim.Adam", "lr": 1e-3}


@pytest.mark.parametrize(
    ("optimizer", "scheduler", "steps", "message"),
    [
        (ADAM | {"lr": -1}, {}, 1, "optimizer=torch.optim.Adam"),
        ({"_target_": "torch.optim.LBFGS"}, {}, 1, "torch.optim.LBFGS failed"),
        ({"_target_": "torch.optim.Muon"}, {}, 1, "Muon only supports 2D"),
        ({"_target_": f"{__name__}.ForVectors"}, {}, 1, "ForVectors failed: only vectors"),
        (ADAM, COSINE | {"T_max": 0}, 2, "CosineAnnealingLR failed"),
        (ADAM, ONE_CYCLE, 12, "OneCycleLR failed"),
    ],
)
def test_errors_of_later_steps_are_raised_by_the_rehearsal(
    optimizer: dict[str, Any], scheduler: dict[str, Any], steps: int, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        rehearse(optimizer, scheduler, steps)


def test_a_rehearsal_changes_nothing() -> None:
    before = torch.get_rng_state()
    rehearse(ADAM, COSINE, 8)
    rehearse(ADAM, ONE_CYCLE, 9)
    rehearse(ADAM, {}, 10**9)
    assert torch.equal(torch.get_rng_state(), before)
