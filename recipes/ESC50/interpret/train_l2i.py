"""Train L2I: ``python train_l2i.py hparams/l2i_cnn14.yaml --data_folder=<ESC-50-master>``."""

import sys

from otoscope.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
