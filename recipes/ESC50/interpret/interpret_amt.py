"""Evaluate AMT: ``python interpret_amt.py hparams/amt_focalnet.yaml --data_folder=<ESC-50-master>``."""

import sys

from otoscope.cli.recipe import run_recipe
from otoscope.training import InterpreterESC50Brain

__all__ = ["InterpreterESC50Brain"]

if __name__ == "__main__":
    sys.exit(run_recipe("train", __file__))
