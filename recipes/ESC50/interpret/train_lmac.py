"""Train L-MAC: ``python train_lmac.py hparams/lmac_cnn14.yaml --data_folder=<ESC-50-master>``."""

import sys

from otoscope.cli.recipe import run_recipe
from otoscope.training import LMAC

__all__ = ["LMAC"]

if __name__ == "__main__":
    sys.exit(run_recipe("train", __file__))
