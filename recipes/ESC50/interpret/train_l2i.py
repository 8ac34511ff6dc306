"""Train L2I: ``python train_l2i.py hparams/l2i_cnn14.yaml --data_folder=<ESC-50-master>``."""

import sys

from otoscope.cli.recipe import run_recipe
from otoscope.training import L2I

__all__ = ["L2I"]

if __name__ == "__main__":
    sys.exit(run_recipe("train", __file__))
