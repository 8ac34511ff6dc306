"""Trainings by two processes: equal weights in both, and the same result as one process with the double batch."""

import csv
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from otoscope.training.batch_norm import SharedBatchNorm, SharedBatchNorms

WORKER = Path(__file__).with_name("distributed_worker.py")
TASKS = ["classifier", "head_first", "piq", "l2i", "lmac", "nmf", "amortized_nmf"]


def free_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folders of the trainings by two processes, and by one with the double batch."""
    root = tmp_path_factory.mktemp("distributed")
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2", "NODE_RANK": "0"}
    shared |= {"OMP_NUM_THREADS": "1", "OTOSCOPE_CACHE": str(root / "cache"), "GLOO_SOCKET_IFNAME": "lo"}
    processes = [
        subprocess.Popen(
            [sys.executable, str(WORKER), str(root), str(rank)],
            env={**os.environ, **shared, "LOCAL_RANK": str(rank), "RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(str(WORKER.parent))
            patch.setenv("OTOSCOPE_CACHE", str(root / "cache"))
            import distributed_worker

            from otoscope.training.task import TrainingTask

            for name in ("on_train_end", "configure_optimizers"):
                patch.setattr(TrainingTask, name, getattr(distributed_worker, name))
            torch.manual_seed(0)
            distributed_worker.run(root / "one", 0, 1)
        outputs = [process.communicate(timeout=240)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert [process.returncode for process in processes] == [0, 0], outputs[0][-3000:] + outputs[1][-3000:]
    return root, root / "one"


def weights(folder, name, rank):
    return torch.load(folder / f"{name}-{rank}.pt", weights_only=True)


def losses(folder, name):
    with (folder / name / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row.get("train_loss")]
    return [float(row[f"{stage}_loss"]) for row in rows for stage in ("train", "valid")]


# One test of all trainings: divided among the processes of the suite, they would run once in each.
def test_two_processes_train_like_one_with_the_double_batch(folders):
    for name in TASKS:
        first, second, alone = (
            weights(folder, name, rank) for folder, rank in ((folders[0], 0), (folders[0], 1), (folders[1], 0))
        )
        torch.testing.assert_close(first, second, rtol=0, atol=0, msg=lambda text, name=name: f"{name}: {text}")
        first.pop("placeholder", None)
        # Sums over the batch are made in another order.
        torch.testing.assert_close(
            first, alone, rtol=1e-3, atol=1e-4, msg=lambda text, name=name: f"{name}: {text}"
        )
        assert losses(folders[0], name) == pytest.approx(losses(folders[1], name), rel=1e-4), name
        # the losses of training and validation of each epoch
        assert len(losses(folders[0], name)) == (4 if name == "head_first" else 2), name


def test_shared_statistics_take_the_place_of_batch_norms_and_give_it_back():
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Sequential(nn.BatchNorm1d(4)))
    before = dict(model.named_parameters()) | dict(model.named_buffers())
    plugin = SharedBatchNorms()
    plugin.apply(model)
    assert [type(layer) for layer in (model[1], model[2][0])] == [SharedBatchNorm] * 2
    clips = torch.randn(4, 1, 8, 8)
    # Without other processes, the layer is an ordinary one.
    expected = F.batch_norm(model[0](clips), None, None, training=True)
    torch.testing.assert_close(model[:2](clips), expected)
    plugin.revert(model)
    assert [type(layer) for layer in (model[1], model[2][0])] == [nn.BatchNorm2d, nn.BatchNorm1d]
    after = dict(model.named_parameters()) | dict(model.named_buffers())
    assert all(after[name] is value for name, value in before.items())
