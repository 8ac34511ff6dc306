"""Compare methods of explanation: ``python eval.py hparams/eval_conv2d.yaml --data_folder=<ESC-50-master>``."""

import sys

from otoscope.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
