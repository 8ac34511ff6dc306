"""Whole trainings: the files that they write, and how they resume after a kill, a fault or a second start."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys

import lightning
import pytest
import soundfile
import torch
from torch.utils.data import Dataset

from otoscope.classifiers import Conv2dClassifier, save_classifier
from otoscope.data import Clip, SoundData, Synthetic
from otoscope.errors import CheckpointError, ConfigurationError, TrainingError
from otoscope.explain import load
from otoscope.loading import load_classifier
from otoscope.training import LMAC, SaveInterpretations, run_training
from otoscope.training.callbacks import spread

CLASSES = ["siren", "rooster", "clock_tick"]


def read_metrics(folder, name):
    """Return a column of metrics.csv, without gaps."""
    with (folder / "metrics.csv").open() as file:
        return [float(row[name]) for row in csv.DictReader(file) if row.get(name)]


def loss_by_epoch(folder):
    """Return the training loss of each epoch; a resumed run may write the epoch before it to metrics.csv again."""
    with (folder / "metrics.csv").open() as file:
        return {row["epoch"]: row["train_loss"] for row in csv.DictReader(file) if row["train_loss"]}


def read_json(path):
    """Read strict JSON: without NaN and infinity."""

    def refuse(text):
        raise AssertionError(f"{path} holds {text}")

    return json.loads(path.read_text(), parse_constant=refuse)


def weights(folder, name="last.ckpt"):
    return torch.load(folder / "checkpoints" / name, weights_only=True)["state_dict"]


def assert_same_run(folder, expected):
    for name in ("last.ckpt", "best.ckpt"):
        torch.testing.assert_close(weights(folder, name), weights(expected, name), rtol=0, atol=0)
    assert read_json(folder / "test.json") == read_json(expected / "test.json")


class Fault(lightning.Callback):
    """Callback that calls a function at the start of one step of one epoch."""

    def __init__(self, function, epoch, step=0):
        self.function, self.place = function, (epoch, step)

    def on_train_batch_start(self, trainer, module, batch, index):
        if (trainer.current_epoch, index) == self.place:
            self.function(module)


RUN_FILES = ("checkpoints", "model", "metrics.csv", "test.json", "train_log.txt", "label_encoder.txt")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A classifier and PIQ for it, trained once for all tests of this file: folder, results and data."""
    from functools import partial

    from otoscope.classifiers import Conv2dClassifier
    from otoscope.training import PIQ, ClassifierTraining

    root = tmp_path_factory.mktemp("trained")
    quiet = {"accelerator": "cpu", "enable_progress_bar": False}
    data = Synthetic(clips_per_class=8, classes=CLASSES, duration_s=0.5, batch_size=6, snr_db=(10, 20))
    make = partial(Conv2dClassifier, width=8, head_width=8)
    task = ClassifierTraining(make, learning_rate=1e-2, schedule="one_cycle")
    results = {"classifier": run_training(task, data, root / "classifier", {**quiet, "max_epochs": 5})}
    task = PIQ(root / "classifier" / "model", codes=12, learning_rate=5e-3, schedule="constant")
    saver = SaveInterpretations(root / "piq" / "interpretations", every_n_epochs=2, clips=2)
    results["piq"] = run_training(task, data, root / "piq", {**quiet, "max_epochs": 3}, interpretations=saver)
    return root, results, data


def test_files_and_results_of_a_classifier(trained):
    root, results, _ = trained
    folder = root / "classifier"
    names = {
        "checkpoints",
        "model",
        "metrics.csv",
        "test.json",
        "confusion.png",
        "train_log.txt",
        "label_encoder.txt",
    }
    assert {path.name for path in folder.iterdir()} == names
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    results = results["classifier"]
    assert read_json(folder / "test.json") == results
    assert results["labels"] == CLASSES
    assert results["clips"] == 6
    assert set(results["accuracy_per_class"]) == set(CLASSES)
    loss = read_metrics(folder, "train_loss")
    assert len(loss) == 5
    assert loss[-1] < 0.9 * loss[0]
    assert len(read_metrics(folder, "valid_accuracy")) == 5


def test_exported_classifier_is_the_best_checkpoint(trained):
    root, results, data = trained
    classifier = load_classifier(root / "classifier" / "model")
    assert classifier.labels == CLASSES
    best = weights(root / "classifier", "best.ckpt")
    for name, value in classifier.state_dict().items():
        assert torch.equal(value, best[f"classifier.{name}"])
    correct = 0
    for batch in data.test_dataloader():
        logits = classifier(classifier.frontend.log_magnitude(batch.waveform)).logits
        correct += (logits.argmax(-1) == batch.target).sum().item()
    assert results["classifier"]["accuracy"] == pytest.approx(correct / 6)


def test_the_best_checkpoint_has_the_best_value(trained):
    root = trained[0]
    for folder, name, best in (("classifier", "valid_accuracy", max), ("piq", "valid_reconstruction", min)):
        state = torch.load(root / folder / "checkpoints" / "best.ckpt", weights_only=True)
        callback = next(value for value in state["callbacks"].values() if value.get("monitor") == name)
        assert float(callback["best_model_score"]) == pytest.approx(best(read_metrics(root / folder, name)))


def test_files_and_results_of_an_interpreter(trained):
    root, results, _ = trained
    folder, results = root / "piq", results["piq"]
    names = {
        "checkpoints",
        "model",
        "metrics.csv",
        "test.json",
        "interpretations",
        "train_log.txt",
        "label_encoder.txt",
    }
    assert {path.name for path in folder.iterdir()} == names
    assert read_json(folder / "test.json") == results
    assert list(results["scores"]) == ["PIQ", "all-pass", "random", "loudest", "ideal"]
    assert {"AI", "AD", "FF", "Fid-In", "MM", "IoU", "AUROC", "SI-SDRi"} <= set(results["scores"]["PIQ"])
    assert results["scores"]["all-pass"]["AD"] == pytest.approx(0, abs=1e-3)
    assert results["scores"]["ideal"]["IoU"] == pytest.approx(1, abs=1e-4)
    assert results["scores"]["random"]["MM"] == pytest.approx(results["scores"]["PIQ"]["MM"], abs=1e-3)
    loss = read_metrics(folder, "train_loss")
    assert loss[-1] < 0.9 * loss[0]
    for name in ("valid_loss", "valid_AD", "valid_FF", "train_reconstruction", "train_codebook"):
        assert len(read_metrics(folder, name)) == 3


def test_interpretations_are_saved_during_training_and_at_test(trained):
    root = trained[0]
    folder = root / "piq" / "interpretations"
    assert sorted(path.name for path in folder.iterdir()) == ["epoch-2", "test"]
    for part in folder.iterdir():
        clips = sorted(part.iterdir())
        assert len(clips) == 2
        for clip in clips:
            assert {path.name for path in clip.iterdir()} == {
                "original.wav",
                "interpretation.wav",
                "interpretation_levelled.flac",
                "remainder.wav",
                "remainder_levelled.flac",
                "mask.npz",
                "spectra.png",
                "explanation.json",
            }
            assert soundfile.info(str(clip / "interpretation.wav")).frames == 8000
            assert read_json(clip / "explanation.json")["method"] == "PIQ"


def test_exported_interpreter_explains(trained):
    root, results, data = trained
    explainer = load(root / "piq" / "model")
    assert explainer.labels == CLASSES
    assert explainer.explain(data.test_set[0].waveform).mask.shape == (513, 44)
    config = read_json(root / "piq" / "model" / "config.json")
    assert config["metrics"]["scores"] == results["piq"]["scores"]


def test_test_only_gives_the_same_numbers_and_changes_nothing(trained, make_piq, trainer_options):
    root, results, data = trained
    task = make_piq(classifier=root / "classifier" / "model")
    before = {path: path.read_bytes() for path in (root / "piq" / "checkpoints").iterdir()}
    history = (root / "piq" / "metrics.csv").read_text()
    again = run_training(task, data, root / "piq", trainer_options, test_only=True)
    assert again == results["piq"]
    assert all(path.read_bytes() == content for path, content in before.items())
    assert (root / "piq" / "metrics.csv").read_text().startswith(history)


def test_test_only_without_a_checkpoint_is_refused(tmp_path, data, make_classifier_task, trainer_options):
    with pytest.raises(CheckpointError, match=r"best\.ckpt: no such checkpoint to test; train first"):
        run_training(make_classifier_task(), data, tmp_path, trainer_options, test_only=True)


def test_a_checkpoint_of_another_model_is_refused(trained, data, make_classifier_task, trainer_options):
    root = trained[0]
    with pytest.raises(CheckpointError, match=r"last\.ckpt: belongs to a model with other options"):
        run_training(make_classifier_task(width=4), data, root / "classifier", {**trainer_options, "max_epochs": 9})
    with pytest.raises(CheckpointError, match=r"best\.ckpt: does not fit this model"):
        run_training(make_classifier_task(width=4), data, root / "classifier", trainer_options, test_only=True)


def test_damaged_checkpoints_are_named(tmp_path, data, make_classifier_task, trainer_options):
    (tmp_path / "checkpoints").mkdir()
    for name, content in (("best.ckpt", b"no checkpoint"), ("last.ckpt", b"PK\x03\x04 cut off")):
        (tmp_path / "checkpoints" / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=r"last\.ckpt: is damaged .*best\.ckpt is damaged .*delete both"):
        run_training(make_classifier_task(), data, tmp_path, {**trainer_options, "max_epochs": 1})
    with pytest.raises(CheckpointError, match=r"best\.ckpt: is damaged"):
        run_training(make_classifier_task(), data, tmp_path, trainer_options, test_only=True)


def test_training_without_an_epoch_is_refused(tmp_path, data, make_classifier_task, trainer_options):
    with pytest.raises(CheckpointError, match=r"has saved no checkpoint; is max_epochs at least 1\?"):
        run_training(make_classifier_task(), data, tmp_path, {**trainer_options, "max_epochs": 0})


AUGMENTED = {"time_shift": True, "mixup_alpha": 0.3, "label_smoothing": 0.1}


@pytest.mark.parametrize("kind", ["classifier", "piq"])
def test_a_resumed_run_equals_an_uninterrupted_run(
    tmp_path, data, make_classifier_task, make_piq, trainer_options, kind
):
    def train(folder, epochs):
        task = make_classifier_task(**AUGMENTED) if kind == "classifier" else make_piq()
        run_training(task, data, tmp_path / folder, {**trainer_options, "max_epochs": epochs})

    train("whole", 4)
    train("parts", 2)
    train("parts", 4)
    assert torch.load(tmp_path / "parts" / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 8
    assert_same_run(tmp_path / "parts", tmp_path / "whole")
    assert loss_by_epoch(tmp_path / "parts") == loss_by_epoch(tmp_path / "whole")
    assert list(loss_by_epoch(tmp_path / "whole")) == ["0", "1", "2", "3"]
    train("parts", 4)  # a finished run only repeats the test
    assert_same_run(tmp_path / "parts", tmp_path / "whole")


def test_a_resumed_plateau_schedule_equals_an_uninterrupted_schedule(tmp_path, data, make_piq, trainer_options):
    options = {"schedule": "plateau", "plateau_patience": 0, "plateau_from_epoch": 0, "learning_rate": 0.3}

    def train(folder, epochs):
        run_training(make_piq(**options), data, tmp_path / folder, {**trainer_options, "max_epochs": epochs})

    train("whole", 6)
    for epochs in (1, 2, 3, 4):
        folder = f"resumed-after-{epochs}"
        train(folder, epochs)
        train(folder, 6)
        assert_same_run(tmp_path / folder, tmp_path / "whole")


def test_the_last_checkpoint_becomes_the_model_if_asked_for(tmp_path, data, make_classifier_task, trainer_options):
    task = make_classifier_task(checkpoint="last", learning_rate=0.0)
    run_training(task, data, tmp_path, {**trainer_options, "max_epochs": 3})
    # the accuracy never changes, so the best checkpoint would be that of the first epoch
    assert torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)["epoch"] == 2


def test_the_same_seed_gives_the_same_run(tmp_path, data, make_classifier_task, trainer_options):
    for folder, seed in (("first", 1), ("second", 1), ("other", 2)):
        run_training(
            make_classifier_task(seed=seed, **AUGMENTED),
            data,
            tmp_path / folder,
            {**trainer_options, "max_epochs": 1},
        )
    assert_same_run(tmp_path / "second", tmp_path / "first")
    first, other = weights(tmp_path / "first"), weights(tmp_path / "other")
    assert not all(torch.equal(value, other[name]) for name, value in first.items())


SCRIPT = """
import os, signal, sys
from functools import partial
import lightning, torch
from otoscope.classifiers import Conv2dClassifier
from otoscope.data import Synthetic
from otoscope.training import ClassifierTraining, run_training

class Kill(lightning.Callback):
    def on_train_batch_start(self, trainer, module, batch, index):
        if (trainer.current_epoch, index) == (2, 1):
            os.kill(os.getpid(), signal.SIGKILL)

torch.set_num_threads(1)
task = ClassifierTraining(
    partial(Conv2dClassifier, width=6, head_width=8), schedule="constant", learning_rate=5e-3, time_shift=True
)
data = Synthetic(
    clips_per_class=4, classes=["siren", "rooster", "clock_tick"], duration_s=0.5, batch_size=6, snr_db=(10, 20)
)
options = {"accelerator": "cpu", "enable_progress_bar": False, "max_epochs": 4, "callbacks": [Kill()]}
run_training(task, data, sys.argv[1], options)
"""


def test_a_killed_run_resumes_exactly(tmp_path, data, make_classifier_task, trainer_options):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    killed = subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path / "killed")], env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert sorted(path.name for path in (tmp_path / "killed" / "checkpoints").iterdir()) == [
        "best.ckpt",
        "last.ckpt",
    ]
    assert not (tmp_path / "killed" / "test.json").exists()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for folder in ("killed", "whole"):
            task = make_classifier_task(time_shift=True)
            run_training(task, data, tmp_path / folder, {**trainer_options, "max_epochs": 4})
    finally:
        torch.set_num_threads(threads)
    assert_same_run(tmp_path / "killed", tmp_path / "whole")


def poison(module):
    parameter = next(p for p in module.parameters() if p.requires_grad)
    with torch.no_grad():
        parameter.fill_(float("nan"))


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_checkpoint(
    tmp_path, data, make_piq, trainer_options
):
    options = {**trainer_options, "max_epochs": 3, "callbacks": [Fault(poison, epoch=1, step=1)]}
    with pytest.raises(TrainingError, match=r"the loss is not finite in epoch 1, step 3 \(.*last good checkpoint"):
        run_training(make_piq(), data, tmp_path, options)
    for name in ("best.ckpt", "last.ckpt"):
        assert all(value.isfinite().all() for value in weights(tmp_path, name).values())
    run_training(make_piq(), data, tmp_path, {**trainer_options, "max_epochs": 2})  # resumes from there
    assert (tmp_path / "test.json").is_file()


def test_a_fault_in_the_last_step_of_an_epoch_damages_no_checkpoint(tmp_path, data, make_piq, trainer_options):
    class LateFault(lightning.Callback):
        def on_train_batch_end(self, trainer, module, outputs, batch, index):
            if (trainer.current_epoch, index) == (1, 1):
                poison(module)

    with pytest.raises(TrainingError, match="the loss is not finite in epoch 1"):
        run_training(make_piq(), data, tmp_path, {**trainer_options, "max_epochs": 3, "callbacks": [LateFault()]})
    for name in ("best.ckpt", "last.ckpt"):
        assert all(value.isfinite().all() for value in weights(tmp_path, name).values())


def test_a_full_disk_is_reported_with_a_remedy(tmp_path, data, make_classifier_task, trainer_options, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(lightning.Trainer, "save_checkpoint", refuse)
    with pytest.raises(TrainingError, match=r"run: cannot be written \(.*No space left.*resumes from its last"):
        run_training(make_classifier_task(), data, tmp_path / "run", {**trainer_options, "max_epochs": 1})


def test_labels_unknown_to_the_classifier_are_refused_before_training(tmp_path, make_piq, trainer_options):
    data = Synthetic(clips_per_class=1, classes=["siren", "dog"], duration_s=0.5)
    with pytest.raises(ConfigurationError, match="classifier: it does not know dog"):
        run_training(make_piq(), data, tmp_path, {**trainer_options, "max_epochs": 1})
    assert not (tmp_path / "checkpoints").exists()


def test_ctrl_c_is_an_error_that_says_how_to_resume(tmp_path, data, make_classifier_task, trainer_options):
    def interrupt(module):
        raise KeyboardInterrupt

    handler = signal.getsignal(signal.SIGINT)
    options = {**trainer_options, "max_epochs": 2, "callbacks": [Fault(interrupt, epoch=1)]}
    try:
        with pytest.raises(TrainingError, match="stopped by the keyboard; the same command resumes"):
            run_training(make_classifier_task(), data, tmp_path, options)
    finally:
        signal.signal(signal.SIGINT, handler)
    assert (tmp_path / "checkpoints" / "last.ckpt").is_file()


class Ragged(Dataset[Clip]):
    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        wave = torch.randn(4000 + 900 * (index % 5), generator=generator)
        return Clip(wave / wave.abs().max(), index % 3, f"c{index}", f"key{index}")


class RaggedData(SoundData):
    """Clips of five different lengths; the last batch holds a single clip."""

    def setup(self, stage):
        self.labels = CLASSES
        self.train_set, self.valid_set, self.test_set = Ragged(9), Ragged(5), Ragged(5)


def test_clips_of_different_lengths_and_a_last_batch_of_one(
    tmp_path, make_classifier_task, make_piq, trainer_options
):
    data = RaggedData(batch_size=4)
    options = {**trainer_options, "max_epochs": 1}
    results = run_training(make_classifier_task(), data, tmp_path / "classifier", options)
    assert results["clips"] == 5
    task = make_piq(classifier=tmp_path / "classifier" / "model")
    saver = SaveInterpretations(tmp_path / "interpretations", every_n_epochs=0, clips=3)
    run_training(task, data, tmp_path / "piq", options, interpretations=saver)
    saved = {path.name: soundfile.info(str(path / "original.wav")).frames for path in saver.folder.glob("test/*")}
    assert saved == {"c0": 4000, "c1": 4900, "c3": 6700}


def test_stored_representations_give_the_same_training(tmp_path, data, make_piq, trainer_options):
    for folder, stored in (("computed", False), ("stored", True)):
        task = make_piq(cache_representations=stored)
        run_training(task, data, tmp_path / folder, {**trainer_options, "max_epochs": 2})
    losses = [read_metrics(tmp_path / folder, "train_loss") for folder in ("computed", "stored")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)
    losses = [read_metrics(tmp_path / folder, "valid_loss") for folder in ("computed", "stored")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)


def test_a_task_can_resume_in_the_same_process(tmp_path, data, make_piq, trainer_options):
    task = make_piq()
    run_training(task, data, tmp_path, {**trainer_options, "max_epochs": 1})
    run_training(task, data, tmp_path, {**trainer_options, "max_epochs": 2})
    assert len(read_metrics(tmp_path, "train_loss")) == 2


def test_early_stopping_can_be_added_as_a_callback(tmp_path, data, make_classifier_task, trainer_options):
    stop = lightning.pytorch.callbacks.EarlyStopping("valid_loss", stopping_threshold=1e9)
    options = {**trainer_options, "max_epochs": 5, "callbacks": [stop]}
    run_training(make_classifier_task(), data, tmp_path, options)
    assert len(read_metrics(tmp_path, "train_loss")) == 1


def test_without_a_logger_there_is_no_metrics_file(tmp_path, data, make_classifier_task, trainer_options):
    run_training(make_classifier_task(), data, tmp_path, {**trainer_options, "max_epochs": 1, "logger": False})
    assert not (tmp_path / "metrics.csv").exists()
    assert (tmp_path / "test.json").is_file()


def test_spread_is_limited_to_the_number_of_clips():
    assert spread(3, 10) == [0, 1, 2]
    assert spread(10, 3) == [0, 3, 6]
    assert spread(0, 3) == []


def test_test_only_evaluates_the_published_model_if_nothing_was_trained(
    tmp_path, data, make_piq, trainer_options, capsys
):
    published = make_piq(codes=9)
    folder = str(published.export(tmp_path / "published"))
    task = make_piq(published=folder)
    results = run_training(task, data, tmp_path / "run", trainer_options, test_only=True)
    checkpoint = tmp_path / "run" / "checkpoints" / "best.ckpt"
    assert capsys.readouterr().out.startswith(f"interpreter: {folder}; {checkpoint} does not exist")
    assert task.interpreter.codes == 9
    assert next(iter(results["scores"])) == "PIQ"
    assert not checkpoint.exists()
    assert load(tmp_path / "run" / "model").interpreter.codes == 9
    # A training does not start from it, and its checkpoint comes first afterwards.
    run_training(make_piq(published=folder), data, tmp_path / "run", {**trainer_options, "max_epochs": 1})
    again = make_piq(published=folder)
    run_training(again, data, tmp_path / "run", trainer_options, test_only=True)
    assert again.interpreter.codes == 12


def test_a_published_model_of_another_method_is_refused(tmp_path, data, classifier, make_piq, trainer_options):
    folder = str(LMAC(classifier, schedule="constant").export(tmp_path / "published"))
    with pytest.raises(ConfigurationError, match="LMACInterpreter, not PIQInterpreter"):
        run_training(make_piq(published=folder), data, tmp_path / "run", trainer_options, test_only=True)


def test_a_checkpoint_is_refused_with_another_classifier(tmp_path, data, make_piq, trainer_options):
    options = {**trainer_options, "max_epochs": 1}
    run_training(make_piq(), data, tmp_path, options)
    other = Conv2dClassifier(["siren", "rooster", "clock_tick"], width=6, head_width=8).freeze()
    for test_only in (True, False):
        with pytest.raises(CheckpointError, match=r"belongs to another classifier .* --model\.classifier"):
            run_training(
                make_piq(classifier=other), data, tmp_path, {**options, "max_epochs": 2}, test_only=test_only
            )


def test_a_training_starts_from_weights_unless_it_resumes(tmp_path, data, make_classifier_task, trainer_options):
    former = Conv2dClassifier(["a", "b"], width=6, head_width=8)
    folder = str(save_classifier(former, tmp_path / "former"))
    options = {**trainer_options, "max_epochs": 1, "limit_train_batches": 1}
    task = make_classifier_task(start=folder, learning_rate=0.0)
    run_training(task, data, tmp_path / "run", options)
    assert torch.equal(task.classifier.blocks[0][0].weight, former.blocks[0][0].weight)
    shutil.rmtree(folder)
    run_training(make_classifier_task(start=folder), data, tmp_path / "run", {**options, "max_epochs": 2})
    with pytest.raises(
        CheckpointError, match=r"is no model folder.*--model\.start null trains from random weights"
    ):
        run_training(make_classifier_task(start=folder), data, tmp_path / "new", options)


def test_the_start_is_chosen_before_the_data_are_prepared_and_does_not_change_other_random_numbers(
    tmp_path, data, make_classifier_task, trainer_options, monkeypatch
):
    options = {**trainer_options, "max_epochs": 1, "limit_train_batches": 1}
    random = make_classifier_task()
    run_training(random, data, tmp_path / "random", options)
    fallback = make_classifier_task(start=[str(tmp_path / "absent"), None])
    run_training(fallback, data, tmp_path / "fallback", options)
    assert all(torch.equal(a, b) for a, b in zip(random.parameters(), fallback.parameters(), strict=True))
    monkeypatch.setattr(data, "prepare_data", lambda: pytest.fail("prepares the data first"))
    with pytest.raises(CheckpointError, match="is no model folder"):
        run_training(make_classifier_task(start=str(tmp_path / "absent")), data, tmp_path / "new", options)
