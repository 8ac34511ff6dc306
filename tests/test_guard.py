"""The guard of the speed: ratios, and a job with the package of a folder."""

from pathlib import Path

import pytest
from benchmarks import guard

ROOT = Path(__file__).parents[1]


def test_ratios_are_those_of_pairs():
    times = {
        "base": [{"seconds": 1.0, "processor_seconds": 2.0}, {"seconds": 10.0, "processor_seconds": 2.0}],
        "head": [{"seconds": 2.0, "processor_seconds": 1.0}, {"seconds": 10.0, "processor_seconds": 1.0}],
    }
    ratios = guard.ratios(times)
    assert ratios["ratio_of_seconds"] == {"median": 1.5, "least": 1.0, "largest": 2.0}
    assert ratios["ratio_of_processor_seconds"]["median"] == 0.5


def test_a_job_runs_with_the_package_of_its_folder(tmp_path):
    times = guard.run_job("piq_step", ROOT, "saliency")
    assert times["processor_seconds"] > 0
    (tmp_path / "src").mkdir()  # holds no package, so that the installed one is imported
    with pytest.raises(SystemExit, match="not the package of"):
        guard.run_job("piq_step", tmp_path, "saliency")
