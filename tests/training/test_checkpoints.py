"""Checkpoints: whole after a kill or on a full disk, beside their target, and replaced where they are damaged."""

import os
import shutil
import signal
import subprocess
import sys

import pytest
import torch

from otoscope.errors import CheckpointError, TrainingError
from otoscope.files import atomic
from otoscope.training import run_training
from otoscope.training.checkpoints import AtomicCheckpointIO, find_resumption

OTHER_DISK = "/dev/shm"
KILLS = """
import os, resource, signal, sys
from pathlib import Path
import torch
from otoscope.files import atomic
from otoscope.training.checkpoints import AtomicCheckpointIO

def kill(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)

def write_half(self, content):
    with self.open("wb") as file:
        file.write(content[: len(content) // 2])
        file.flush()
        kill()

def limit():
    # A limit of the size of files fails like a full disk: in the middle of the content.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))

prepare = {
    "half": lambda: setattr(Path, "write_bytes", write_half),
    "before the flush": lambda: setattr(os, "fsync", kill),
    "before the rename": lambda: setattr(Path, "replace", kill),
    "after the rename": lambda: setattr(atomic, "_sync_folder", kill),
    "no room": limit,
}
for moment, function in prepare.items():
    process = os.fork()  # a process of its own for each, without importing PyTorch again
    if process == 0:
        function()
        try:
            content = {"epoch": 1, "state_dict": {"w": torch.ones(100_000)}}
            AtomicCheckpointIO().save_checkpoint(content, Path(sys.argv[1]) / moment / "last.ckpt")
        except BaseException as error:
            print(type(error).__name__, error, flush=True)
        os._exit(0)
    print(moment, os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), sep=":", flush=True)
"""


def checkpoint(epoch, path):
    AtomicCheckpointIO().save_checkpoint(
        {"epoch": epoch, "state_dict": {"w": torch.full((9,), float(epoch))}}, path
    )
    return path


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def damage(path, how):
    content = path.read_bytes()
    # A changed byte of a weight is damage that PyTorch alone does not notice.
    middle = content.index(torch.full((9,), 0.0).numpy().tobytes()) if how == "changed" else 0
    changed = content[:middle] + b"\x01" + content[middle + 1 :]
    path.write_bytes({"empty": b"", "cut off": content[: len(content) // 2], "changed": changed}[how])


def test_a_write_that_is_killed_or_cut_off_leaves_the_former_checkpoint_or_the_new_one(tmp_path):
    moments = ["half", "before the flush", "before the rename", "after the rename", "no room"]
    paths = [checkpoint(0, tmp_path / moment / "last.ckpt") for moment in moments]
    process = subprocess.run(
        [sys.executable, "-c", KILLS, str(tmp_path)], capture_output=True, text=True, check=True
    )
    *killed, error, last = process.stdout.splitlines()
    assert killed == [f"{moment}:{-signal.SIGKILL}" for moment in moments[:-1]]
    assert error.startswith(f"TrainingError {paths[-1]}: cannot be written ([Errno 27] File too large)")
    assert last == "no room:0"
    resumptions = [find_resumption(path.parent) for path in paths]
    assert [resumption.path for resumption in resumptions] == paths
    assert [resumption.epoch for resumption in resumptions] == [0, 0, 0, 1, 0]
    # The next run removes what the killed ones left.
    assert [len(names_in(path.parent)) for path in paths] == [2, 2, 2, 1, 1]
    atomic.remove_stale_below(tmp_path)
    assert all(names_in(path.parent) == ["last.ckpt"] for path in paths)


def test_a_full_disk_keeps_the_former_checkpoint(tmp_path, monkeypatch):
    path = checkpoint(0, tmp_path / "last.ckpt")

    def refuse(handle):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as context:
        context.setattr(os, "fsync", refuse)
        with pytest.raises(TrainingError, match=r"last\.ckpt: cannot be written \(.*No space left.*resumes from"):
            checkpoint(1, path)
    assert find_resumption(tmp_path).epoch == 0
    assert names_in(tmp_path) == ["last.ckpt"]


@pytest.mark.parametrize("how", ["empty", "cut off", "changed"])
def test_a_damaged_last_checkpoint_is_replaced_by_the_best(tmp_path, capsys, how):
    best, last = checkpoint(3, tmp_path / "best.ckpt"), checkpoint(0, tmp_path / "last.ckpt")
    damage(last, how)
    resumption = find_resumption(tmp_path)
    assert (resumption.path, resumption.epoch, resumption.best_is_lost) == (best, 3, False)
    message = capsys.readouterr().err
    assert message.startswith(f"warning: {last} is damaged (")
    assert message.endswith(f"; the run resumes from {best} (epoch 4)\n")


def test_two_damaged_checkpoints_are_one_error(tmp_path):
    for name in ("best.ckpt", "last.ckpt"):
        damage(checkpoint(0, tmp_path / name), "cut off")
    with pytest.raises(CheckpointError, match=r"last\.ckpt: is damaged \(.*best\.ckpt is damaged .*delete both"):
        find_resumption(tmp_path)
    (tmp_path / "best.ckpt").unlink()
    with pytest.raises(CheckpointError, match=r"last\.ckpt: is damaged \(.*best\.ckpt is missing"):
        find_resumption(tmp_path)


def test_without_a_last_checkpoint_a_run_begins(tmp_path):
    assert find_resumption(tmp_path / "absent") is None
    checkpoint(0, tmp_path / "best.ckpt")
    assert find_resumption(tmp_path) is None


def train(task, data, folder, options, epochs):
    run_training(task, data, folder, {**options, "max_epochs": epochs})
    states = [torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True) for name in ("best", "last")]
    return [state["state_dict"] for state in states], (folder / "metrics.csv").read_text()


def assert_equal(states, expected):
    for state, other in zip(states, expected, strict=True):
        torch.testing.assert_close(state, other, rtol=0, atol=0)


@pytest.mark.parametrize("damaged", ["last", "best"])
def test_a_run_with_a_damaged_checkpoint_ends_like_an_uninterrupted_run(
    tmp_path, data, make_piq, trainer_options, capsys, damaged
):
    whole, table = train(make_piq(), data, tmp_path / "whole", trainer_options, 4)
    train(make_piq(), data, tmp_path / "parts", trainer_options, 2)
    (tmp_path / "parts" / "checkpoints" / f"{damaged}.ckpt").write_bytes(b"PK\x03\x04 cut off")
    states, resumed_table = train(make_piq(), data, tmp_path / "parts", trainer_options, 4)
    assert f"{damaged}.ckpt is damaged" in capsys.readouterr().err
    # The loss falls in every epoch, so the best checkpoint is that of the last one in either run.
    assert_equal(states, whole)
    assert resumed_table == table


def test_a_damaged_best_checkpoint_of_a_finished_run_is_replaced_by_the_last(
    tmp_path, data, make_piq, trainer_options, capsys
):
    train(make_piq(), data, tmp_path, trainer_options, 1)
    results = (tmp_path / "test.json").read_text()
    best = tmp_path / "checkpoints" / "best.ckpt"
    best.write_bytes(best.read_bytes()[:-100])
    run_training(make_piq(), data, tmp_path, {**trainer_options, "max_epochs": 1})
    assert "last.ckpt is taken instead" in capsys.readouterr().err
    assert (tmp_path / "test.json").read_text() == results


def test_a_moved_run_keeps_its_best_value(tmp_path, data, make_classifier_task, trainer_options):
    train(make_classifier_task(), data, tmp_path / "former", trainer_options, 1)
    shutil.move(tmp_path / "former", tmp_path / "moved")
    best = tmp_path / "moved" / "checkpoints" / "best.ckpt"
    states = AtomicCheckpointIO().load_checkpoint(best, weights_only=True)["callbacks"].values()
    # Lightning forgets the value if the folder is not that of the run.
    [state] = [state for state in states if state.get("monitor") == "valid_accuracy"]
    assert state["dirpath"] == str(best.parent)
    assert state["best_k_models"] == {str(best): state["best_model_score"]}
    train(make_classifier_task(), data, tmp_path / "moved", trainer_options, 2)  # without a warning


@pytest.mark.skipif(not os.path.isdir(OTHER_DISK), reason="needs a second file system")  # noqa: PTH112
def test_a_training_writes_nothing_to_the_folder_of_temporary_files(
    tmp_path, data, make_piq, trainer_options, monkeypatch
):
    import tempfile

    with tempfile.TemporaryDirectory(dir=OTHER_DISK) as temporary:
        monkeypatch.setattr(tempfile, "tempdir", temporary)
        monkeypatch.setenv("TMPDIR", temporary)
        made = []
        watched = tempfile.mkstemp
        monkeypatch.setattr(tempfile, "mkstemp", lambda *a, **o: made.append(o.get("dir")) or watched(*a, **o))
        train(make_piq(), data, tmp_path / "run", trainer_options, 2)
        assert os.listdir(temporary) == []  # noqa: PTH208
    assert None not in made
    assert tmp_path / "run" / "checkpoints" in made


def test_leftovers_of_a_killed_run_are_removed_even_if_nothing_remains_to_be_trained(
    tmp_path, data, make_classifier_task, trainer_options
):
    train(make_classifier_task(), data, tmp_path, trainer_options, 1)
    leftover = tmp_path / "checkpoints" / f".last-tmp-{atomic._host()}-{2**22 + 1}-000000-x.ckpt"
    leftover.touch()
    train(make_classifier_task(), data, tmp_path, trainer_options, 1)
    assert names_in(tmp_path / "checkpoints") == ["best.ckpt", "last.ckpt"]
