"""The benchmarks of attributions, of scaling and of a GPU: what they compute, and their errors."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from benchmarks import attributions, scaling

from otoscope.classifiers import Conv2dClassifier

ROOT = Path(__file__).parents[1]


def test_a_curve_has_the_slope_of_its_larger_half():
    points = [{"x": x, "seconds": max(1.0, 0.1 * x)} for x in (1, 2, 10, 20, 40)]
    assert 0 < scaling.exponent(points, "seconds") < 1
    assert scaling.exponent(points[2:], "seconds") == pytest.approx(1)


def test_points_are_timed_and_drawn(tmp_path):
    calls = []
    steps = {1: lambda: calls.append(1), 2: lambda: calls.append(2)}
    points = scaling.time_points(steps, 2)
    assert [point["x"] for point in points] == [1, 2]
    assert calls == [2, 1, 1, 2, 2, 1]
    some = [{"x": x, "seconds": x, "processor_seconds": x, "megabytes": x} for x in (1, 2)]
    curves = {name: {"points": some} for name in ("batch", "length", "width", "clips", "memory")}
    scaling.draw(curves, tmp_path / "curves.svg")
    assert "proportional" in (tmp_path / "curves.svg").read_text()


@pytest.mark.parametrize(
    "method", ["integrated_gradients", "smoothgrad", "gradient_shap", "occlusion", "rise", "slime"]
)
def test_sides_compute_the_same_map(method):
    torch.manual_seed(0)
    classifier = Conv2dClassifier(["dog", "rain"], width=2).freeze()
    # Random weights answer almost the same to all masked clips, and these methods take differences of the answers.
    limit = 0.02 if method in ("occlusion", "rise") else 1e-4
    result = attributions.measure(method, classifier, 0.1 * torch.randn(1, 6000), repeats=1)
    for name, side in result.items():
        if name not in ("ours", "options"):
            assert side["largest_difference_of_largest_value"] < limit
            assert side["ratio_of_medians"] > 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="for machines without a CUDA device")
def test_without_a_cuda_device_one_line_says_so():
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu.py")]
    finished = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert finished.returncode == 2
    assert finished.stderr.splitlines() == [
        "gpu: no CUDA device here; run it on a machine with one and a PyTorch built for CUDA"
    ]
