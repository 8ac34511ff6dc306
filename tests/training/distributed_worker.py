"""One process of a distributed training; `test_distributed` starts two, and runs the same in one process."""

import sys
from functools import partial
from pathlib import Path

import torch

from otoscope.classifiers import Conv2dClassifier
from otoscope.data import Synthetic
from otoscope.nn import NMFDictionary
from otoscope.training import L2I, LMAC, PIQ, AmortizedNMFTraining, ClassifierTraining, NMFTraining, run_training
from otoscope.training.task import TrainingTask

CLASSES = ["siren", "rooster", "clock_tick"]
EPOCHS = {"head_first": 2}
"""Number of epochs of the trainings with more than one: of the head, and of all layers."""


def make_tasks():
    """Return the trainings, small and without random augmentation."""
    torch.manual_seed(0)
    classifier = Conv2dClassifier(CLASSES, width=6, head_width=8).freeze()
    dictionary = NMFDictionary(torch.rand(513, 5), classifier.frontend)
    plain = {"schedule": "constant", "learning_rate": 1e-2}
    make = partial(Conv2dClassifier, width=6, head_width=8)
    return {
        "classifier": ClassifierTraining(make, frequency_drops=0, chunk_drops=0, **plain),
        "head_first": ClassifierTraining(make, frequency_drops=0, chunk_drops=0, head_epochs=1, **plain),
        "piq": PIQ(classifier, codes=12, **plain),
        "l2i": L2I(classifier, dictionary, decoder_width=8, **plain),
        "lmac": LMAC(classifier, decoder_width=4, **plain),
        "nmf": NMFTraining(components=5, iterations=5),
        "amortized_nmf": AmortizedNMFTraining(components=5, learning_rate=1e-2),
    }


def run(folder, rank, processes):
    """Run all trainings, and write the weights of this process."""
    data = Synthetic(
        clips_per_class=8, classes=CLASSES, duration_s=0.5, batch_size=6 // processes, snr_db=(10, 20), seed=3
    )
    options = {"accelerator": "cpu", "enable_progress_bar": False}
    if processes > 1:
        options |= {"devices": processes, "strategy": "ddp"}
    for name, task in make_tasks().items():
        # In double precision the rounding errors, which trainings by gradients multiply in each step, stay small.
        precise = {} if name == "nmf" else {"precision": "64-true"}
        run_training(task, data, folder / name, options | precise | {"max_epochs": EPOCHS.get(name, 1)})
        torch.save(task.trained_weights, folder / f"{name}-{rank}.pt")


def on_train_end(self):
    """Keep the weights at the end of the training; those of the test come from a file that all processes read."""
    self.trained_weights = {name: value.clone() for name, value in self.state_dict().items()}


def configure_optimizers(self):
    """Return an optimiser without Adam's division, which turns rounding errors of small gradients into steps."""
    return torch.optim.SGD(self.parameter_groups(), self.learning_rate)


if __name__ == "__main__":
    torch.set_num_threads(1)
    TrainingTask.on_train_end, TrainingTask.configure_optimizers = on_train_end, configure_optimizers
    run(Path(sys.argv[1]), int(sys.argv[2]), 2)
