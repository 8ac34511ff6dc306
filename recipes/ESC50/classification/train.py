"""Train a sound classifier: ``python train.py hparams/conv2d.yaml --data_folder=<ESC-50-master>``."""

import sys

from otoscope.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
