"""Optimisers, schedules, and the check that the loss is finite."""

from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision

from otoscope.errors import ConfigurationError, TrainingError
from otoscope.training.task import TrainingTask


class TinyTask(TrainingTask):
    """Training of a single weight, beside a frozen one."""

    def __init__(self, steps=60, **options):
        super().__init__(learning_rate=0.1, **options)
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.fixed = torch.nn.Parameter(torch.zeros(1), requires_grad=False)
        self._trainer = SimpleNamespace(estimated_stepping_batches=steps)

    def adapt_to(self, labels):
        pass

    def export(self, folder, **extra):
        pass

    def report(self, folder):
        return {}

    @property
    def trainer(self):
        return self._trainer


def rates(task, steps):
    """Return the learning rate before each of the given number of steps."""
    configuration = task.configure_optimizers()
    optimizer, scheduler = configuration["optimizer"], configuration["lr_scheduler"]["scheduler"]
    result = []
    for _ in range(steps):
        result.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return result


@pytest.mark.parametrize(("name", "optimizer_class"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)])
def test_optimizer_gets_the_trainable_parameters(name, optimizer_class):
    task = TinyTask(optimizer=name, weight_decay=0.5)
    optimizer = task.configure_optimizers()
    assert type(optimizer) is optimizer_class
    group = optimizer.param_groups[0]
    assert (group["lr"], group["weight_decay"]) == (0.1, 0.5)
    assert [id(parameter) for parameter in group["params"]] == [id(task.weight)]


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_fused_steps_equal_plain_steps(name):
    task = TinyTask(optimizer=name, weight_decay=0.3)
    task.weight = torch.nn.Parameter(torch.linspace(-2, 2, 1001))
    fused = task.configure_optimizers()
    assert fused.param_groups[0]["fused"]
    other = torch.nn.Parameter(task.weight.detach().clone())
    plain = type(fused)([other], lr=0.1, weight_decay=0.3, fused=False)
    for step in range(5):
        task.weight.grad = torch.sin(task.weight.detach() * (step + 1))
        other.grad = task.weight.grad.clone()
        torch.nn.utils.clip_grad_norm_(task.weight, 1.0)
        torch.nn.utils.clip_grad_norm_(other, 1.0)
        fused.step()
        plain.step()
    torch.testing.assert_close(task.weight, other)
    assert (other - torch.linspace(-2, 2, 1001)).abs().max() > 0.1


def test_mixed_precision_can_clip_gradients():
    task = TinyTask()
    task._trainer.precision_plugin = MixedPrecision("bf16-mixed", "cpu")
    optimizer = task.configure_optimizers()
    assert not optimizer.param_groups[0]["fused"]
    task.weight.grad = torch.full((1,), 7.0)
    task._trainer.precision_plugin.clip_gradients(optimizer, 2.0)
    assert task.weight.grad.item() == pytest.approx(2.0)
    with pytest.raises(RuntimeError, match="fused"):
        task._trainer.precision_plugin.clip_gradients(torch.optim.Adam([task.weight], fused=True), 2.0)


@pytest.mark.parametrize("warmup", [-0.1, 1.0])
def test_warmup_out_of_range_is_refused(warmup):
    with pytest.raises(ConfigurationError, match="warmup: "):
        TinyTask(warmup=warmup)


def test_one_cycle_rises_and_falls_over_the_whole_training():
    values = rates(TinyTask(schedule="one_cycle"), 60)
    assert values.index(max(values)) == 11
    assert max(values) == pytest.approx(0.1)
    assert values[0] == pytest.approx(0.004)
    assert values[-1] < 1e-5


def test_cyclic_makes_three_triangles():
    values = rates(TinyTask(schedule="cyclic"), 60)
    peaks = [i for i in range(1, 59) if values[i - 1] < values[i] > values[i + 1]]
    assert peaks == [10, 30, 50]
    assert max(values) == pytest.approx(0.1)
    assert min(values) == pytest.approx(0.01)


def test_cyclic_of_a_very_short_training():
    assert all(0.01 <= value <= 0.1 + 1e-9 for value in rates(TinyTask(steps=2, schedule="cyclic"), 2))


@pytest.fixture
def logged(monkeypatch):
    values = {}
    monkeypatch.setattr(TinyTask, "log_dict", lambda self, new, **options: values.update(new))
    monkeypatch.setattr(TinyTask, "current_epoch", 3)
    monkeypatch.setattr(TinyTask, "global_step", 17)
    return values


def test_total_sums_and_logs_each_term(logged):
    loss = TinyTask().total({"a": torch.tensor(1.0), "b": torch.tensor(2.0)}, "train", 4)
    assert loss == 3
    assert logged == {"train_loss": 3, "train_a": 1, "train_b": 2}
    logged.clear()
    TinyTask().total({"a": torch.tensor(1.0)}, "valid", 4)
    assert logged == {"valid_loss": 1, "valid_a": 1}


@pytest.mark.parametrize("stage", ["train", "valid"])
def test_a_loss_that_is_not_finite_names_epoch_step_and_terms(logged, stage):
    terms = {"a": torch.tensor(1.0), "b": torch.tensor(float("nan"))}
    with pytest.raises(TrainingError, match=r"not finite in epoch 3, step 17 \(a 1, b nan\).*lower learning_rate"):
        TinyTask().total(terms, stage, 4)


def test_a_loss_that_is_not_finite_is_logged_at_test(logged):
    TinyTask().total({"a": torch.tensor(float("inf"))}, "test", 4)
    assert logged == {"test_loss": float("inf"), "test_a": float("inf")}
