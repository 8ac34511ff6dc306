"""The memory of a run does not grow with the length of the recording."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import json, sys
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
for minutes in (2, 1, 4):
    tones = [Tone(20 * index + 3, 20 * index + 4, 500) for index in range(3 * minutes)]
    path = write_tones(folder / "night.wav", tones, 60 * minutes, 16_000)
    Path("/proc/self/clear_refs").write_text("5")
    explain_long(explainer, path, folder / f"out{minutes}", window_s=2.0, labels=("low",), pages=0, top_k=2)
    peaks.append(peak_mb())
print(json.dumps(peaks))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="resets the peak memory by /proc")
def test_memory_does_not_grow_with_the_length(tmp_path):
    """Four times the length: 12 MB more of samples, 120 MB more of spectra and masks."""
    command = [sys.executable, "-c", SCRIPT, str(Path(__file__).parent), str(tmp_path)]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert finished.returncode == 0, finished.stderr
    # The first run fills the buffers, which are as large for any length.
    _, short, long = json.loads(finished.stdout)
    assert long < 1.1 * short
