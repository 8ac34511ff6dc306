"""Makes `attributions` importable: the classifier with a known window, shared by tests of several methods."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
