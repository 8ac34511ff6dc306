"""Train a sound classifier: ``python train.py hparams/conv2d.yaml --data_folder=<ESC-50-master>``."""

import sys

from otoscope.cli.recipe import run_recipe
from otoscope.training import ClassifierTraining

__all__ = ["ClassifierTraining"]

if __name__ == "__main__":
    sys.exit(run_recipe("train", __file__))
