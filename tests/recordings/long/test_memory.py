"""The memory of a run does not grow with the length of the recording."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import gc, json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from conftest import BandClassifier, BandMask, Tone, write_tones
from otoscope.audio import Frontend
from otoscope.explain import Explainer
from otoscope.recordings import explain_long

def peak_mb():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) / 1024

folder = Path(sys.argv[2])
explainer = Explainer(BandClassifier(frontend=Frontend()), BandMask(Frontend()))
explainer.classifier.normalize = False
peaks = []
for minutes in (0.5, 0.5, 2):
    tones = [Tone(20 * index + 3, 20 * index + 4, 500) for index in range(round(3 * minutes))]
    path = write_tones(folder / "night.wav", tones, 60 * minutes, 16_000)
    gc.collect()  # pictures refer to themselves
    Path("/proc/self/clear_refs").write_text("5")
    options = {"window_s": 2.0, "hop_s": 2.0, "labels": ("low",), "pages": 0, "top_k": 2}
    explain_long(explainer, path, folder / f"out{minutes}", **options)
    peaks.append(peak_mb())
print(json.dumps(peaks))
"""


# Freed memory goes back to the system at once, so that what a run needs is seen, not what earlier ones needed.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="resets the peak memory by /proc")
def test_memory_does_not_grow_with_the_length(tmp_path):
    """Four times the length: 6 MB more of samples, and 100 MB more of spectra and masks."""
    command = [sys.executable, "-c", SCRIPT, str(Path(__file__).parent), str(tmp_path)]
    environment = os.environ | ALLOCATOR
    finished = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)
    assert finished.returncode == 0, finished.stderr
    # The first run fills the buffers of libraries.
    _, short, long = json.loads(finished.stdout)
    assert long < short + 5
