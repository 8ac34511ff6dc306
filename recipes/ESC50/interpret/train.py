"""Train or test any method of this folder: ``python train.py hparams/piq.yaml --data_folder=<ESC-50-master>``."""

import sys

from otoscope.cli.recipe import run_recipe

if __name__ == "__main__":
    sys.exit(run_recipe("train", __file__))
