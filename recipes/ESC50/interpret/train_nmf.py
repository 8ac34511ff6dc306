"""Train the NMF dictionary of L2I: ``python train_nmf.py hparams/nmf.yaml --data_folder=<ESC-50-master>``."""

import sys

from otoscope.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
