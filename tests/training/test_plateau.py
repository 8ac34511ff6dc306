"""Halving of the learning rate when validation stalls, compared with PyTorch's `ReduceLROnPlateau`."""

from types import SimpleNamespace

import pytest
import torch

from otoscope.training import PIQ
from otoscope.training.plateau import HalveOnPlateau


def rates(values, patience=3, from_epoch=0, mode="min"):
    """Return the learning rate in each epoch, given the monitored value of each."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    callback = HalveOnPlateau("valid", mode, patience, from_epoch)
    result = []
    for epoch, value in enumerate(values):
        result.append(optimizer.param_groups[0]["lr"])
        metrics = {"valid": torch.tensor(value)}
        callback.on_validation_end(
            SimpleNamespace(
                training=True,
                sanity_checking=False,
                callback_metrics=metrics,
                current_epoch=epoch,
                optimizers=[optimizer],
            ),
            None,
        )
    return result


def torch_rates(values, patience, mode="min"):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode, 0.5, patience, threshold=0, eps=0)
    result = []
    for value in values:
        result.append(optimizer.param_groups[0]["lr"])
        scheduler.step(value)
    return result


def test_rate_is_halved_when_nothing_improves():
    assert rates([1.0] * 9) == pytest.approx([0.1] * 5 + [0.05] * 4)


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("patience", [0, 1, 3])
def test_agrees_with_the_scheduler_of_torch(mode, patience):
    values = torch.randn(60, generator=torch.Generator().manual_seed(3)).tolist()
    assert rates(values, patience, mode=mode) == pytest.approx(torch_rates(values, patience, mode))


def test_nothing_is_halved_before_from_epoch():
    values = rates([1.0] * 16, patience=2, from_epoch=10)
    assert values[:13] == [0.1] * 13
    assert values[13:] == pytest.approx([0.05] * 3)
    assert rates([1 / (1 + epoch) for epoch in range(16)], patience=2, from_epoch=10) == [0.1] * 16


def test_state_is_restored():
    callback, resumed = (HalveOnPlateau("valid", "min", 3, 0) for _ in range(2))
    callback.best, callback.stalled = 0.5, 2
    resumed.load_state_dict(callback.state_dict())
    assert (resumed.best, resumed.stalled) == (0.5, 2)


def test_plateau_and_best_checkpoint_monitor_the_same_metric(make_piq):
    (callback,) = make_piq(schedule="plateau", plateau_patience=7, plateau_from_epoch=9).configure_callbacks()
    assert (callback.monitor, callback.patience, callback.from_epoch) == (PIQ.monitor, 7, 9)
    assert make_piq(schedule="constant").configure_callbacks() == []
