"""The benchmark of trust: where each method stands, and the network on waveforms."""

import json

import pytest
import torch
from benchmarks.trust.page import tables
from benchmarks.trust.summary import cells, markdown, standing
from benchmarks.waveform_network import train_waveform_classifier, waveform_classifier

from otoscope.classifiers import save_classifier
from otoscope.data import Synthetic
from otoscope.evaluation.known_use.leaders import POOLED
from otoscope.loading import load_classifier


def cell(mean):
    return {"mean": mean, "low": mean - 10, "high": mean + 10}


@pytest.fixture
def results():
    """Two methods and a control by two scores in the heard sound: one leads AI, and they are level in FF."""
    rows = {"A": (90, 0.5), "B": (40, 0.4), "random": (5, 0.1)}
    faithful = {
        "scores": {
            "clean": {"0.2": {"heard": {name: {"AI": cell(ai), "FF": cell(ff)} for name, (ai, ff) in rows.items()}}}
        },
        "leaders": {
            "clean": {
                "0.2": {
                    "heard": {
                        "AI": {"best": "A", "not_told_from_it": []},
                        "FF": {"best": "A", "not_told_from_it": ["B"]},
                        "MM": {"best": "", "not_told_from_it": []},
                    }
                },
                "own": {"heard": {"AI": {"best": "B", "not_told_from_it": []}}},
            }
        },
        "seconds_per_clip": {"A": {"median": 1.0}, "B": {"median": 0.1}, "random": {"median": 0.0}},
        "conditions": {"clean": {"clips": 16}},
    }
    means = {"A": dict.fromkeys(("rank", "AUROC", "pointing", "swap", "SI-SDR", "seconds"), 0.5)}
    score = {"mean": 0.5, "low": 0.25, "high": 0.75, "n": 3}
    of_group = {"A": dict.fromkeys(("rank", "AUROC", "pointing"), score)}
    designed = {"mean_rank": {"A": 1.0}, "means": means, "thin": ["onset"]}
    designed["scores"] = {"band": of_group, "onset": of_group}
    leader = {"best": "A", "not_told_from_it": ["B"]}
    designed["leaders"] = {group: {"rank": leader} for group in ("band", POOLED)}
    return {"conv2d:esc10": faithful, "listener:designed": designed}


def test_methods_are_first_level_or_behind_at_equal_areas(results):
    counts = standing(results)
    assert counts["heard"]["A"] == {"first": 2, "level": 0, "behind": []}
    assert counts["heard"]["B"]["level"] == 1
    assert counts["heard"]["B"]["behind"] == ["conv2d:esc10, AI at 0.2: A"]
    assert "random" not in counts["heard"]
    assert counts["known_use_mean_rank"] == {"listener:designed": {"A": 1.0}}
    assert list(cells(results, "mask")) == []


def test_tables_hold_every_method(results):
    text = markdown({"results": results, "standing": standing(results)})
    assert "### Conv2d, ESC-10, heard, area 0.2, 16 clips" in text
    assert "| A | 90 ± 10 | 0.50 ± 10.00 |" in text
    assert "| B | 0 | 1 | 1 |" in text
    assert "### Designed listeners, mean over groups" in text
    assert "| A | rank | 1 |\n| B | rank | 0 |" in text
    assert "### Designed listeners, AUROC (number of explanations)" in text
    assert "| | band (3) |\n|---|---|\n| A | 0.50 [0.25, 0.75] |" in text


def test_checks_and_seconds_have_tables(results, tmp_path):
    values = {"mean": 0.1, "clips": 8}
    results["conv2d:esc10"] |= {
        "randomisation": {
            "A": dict.fromkeys(("rank_correlation", "overlap", "eMPRT"), values)
            | {"verdict": "passes", "eMPRT_verdict": "unclear"}
        },
        "sanity": {
            "A": {
                "rank_correlation": {"head": {"mean": 0.9}, "all": {"mean": -0.2}},
                "verdict": "fails: the same map",
            }
        },
        "stability": {"A": {"noise": {"rank_correlation": {"mean": 0.8}}, "verdict": "passes"}},
    }
    (tmp_path / "places.json").write_text(json.dumps({"results": results}))
    (tmp_path / "seconds-conv2d.json").write_text(json.dumps({"results": {"conv2d": {"A": {"seconds": 0.25}}}}))
    text = tables(tmp_path)
    assert "### Conv2d, ESC-10, 8 recordings" in text
    assert "| A | -0.20 fails | 0.10 passes | 0.10 | 0.10 unclear | 0.80 passes |" in text
    assert "| | Conv2d |\n|---|---|\n| A | 0.25 |" in text


def test_the_network_on_waveforms_learns():
    data = Synthetic(clips_per_class=4, classes=("siren", "dog"), duration_s=0.5, batch_size=4)
    classifier = train_waveform_classifier(data, epochs=6, width=4).freeze()
    assert classifier.normalize
    batch = next(iter(data.train_dataloader()))
    assert (
        float((classifier.predict(classifier.hear(batch.waveform)).predicted == batch.target).float().mean()) > 0.5
    )


def test_the_network_on_waveforms_is_saved_and_loaded(tmp_path):
    torch.manual_seed(0)
    classifier = waveform_classifier(["dog", "rain"], width=2).freeze()
    spectrogram = classifier.hear(torch.randn(2, 8000))
    prediction = classifier.predict(spectrogram)
    assert prediction.logits.shape == (2, 2)
    save_classifier(classifier, tmp_path / "model")
    assert torch.equal(load_classifier(tmp_path / "model").logits(spectrogram), prediction.logits)
