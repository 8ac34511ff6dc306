"""Makes `golden_numbers` and `golden_net` importable."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
