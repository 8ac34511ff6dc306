"""Evaluate a trained interpreter, or compare methods of explanation.

``python eval.py hparams/lmac_cnn14.yaml --data_folder=<ESC-50-master>`` evaluates what this file has trained,
``python eval.py hparams/eval_conv2d.yaml --data_folder=<ESC-50-master>`` compares methods.
"""

import sys

from otoscope.cli.recipe import run_recipe

if __name__ == "__main__":
    sys.exit(run_recipe("evaluate", __file__))
