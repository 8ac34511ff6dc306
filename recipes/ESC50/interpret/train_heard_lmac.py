"""Train L-MAC for the ear: ``python train_heard_lmac.py hparams/heard_lmac_conv2d.yaml --data_folder=<folder>``."""

import sys

from otoscope.cli.recipe import run_recipe
from otoscope.training import HeardLMAC

__all__ = ["HeardLMAC"]

if __name__ == "__main__":
    sys.exit(run_recipe("train", __file__))
