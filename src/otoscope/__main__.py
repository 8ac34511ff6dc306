"""Entry point of ``python -m otoscope``."""

import sys

from otoscope.cli.main import main

sys.exit(main())
