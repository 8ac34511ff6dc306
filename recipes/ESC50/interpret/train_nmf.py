"""Train the NMF dictionary of L2I: ``python train_nmf.py hparams/nmf.yaml --data_folder=<ESC-50-master>``."""

import sys

from otoscope.cli.recipe import run_recipe
from otoscope.training import NMFTraining

__all__ = ["NMFTraining"]

if __name__ == "__main__":
    sys.exit(run_recipe("train", __file__))
