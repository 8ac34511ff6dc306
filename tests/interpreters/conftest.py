"""Makes `attributions` importable, the helpers of the tests of several attribution methods."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
