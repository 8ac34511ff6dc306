"""Train PIQ: ``python train_piq.py hparams/piq.yaml --data_folder=<ESC-50-master>``."""

import sys

from otoscope.cli.recipe import run_recipe
from otoscope.training import PIQ

__all__ = ["PIQ"]

if __name__ == "__main__":
    sys.exit(run_recipe("train", __file__))
