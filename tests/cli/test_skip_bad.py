"""Files that cannot be read among many, in a training and in an evaluation: listed at once, or left out."""

import json

import numpy as np
import pytest
import soundfile
import yaml

TINY = ["--model.classifier.width=4", "--model.classifier.head_width=4", "--trainer.max_epochs=1"]
TINY += ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"]
BAD = {"low/2.wav": b"", "high/0.wav": b"text", "high/5.wav": b"RIFF\x24\x00\x00\x00WAVEfmt "}


@pytest.fixture
def sounds(tmp_path):
    """Create eight tones of each of two classes; three of the files are damaged."""
    for label, pitch_hz in (("low", 300), ("high", 2000)):
        for number in range(8):
            path = tmp_path / "sounds" / label / f"{number}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            time_s = np.arange(3000) / 8000
            soundfile.write(path, 0.5 * np.sin(2 * np.pi * pitch_hz * (1 + 0.01 * number) * time_s), 8000)
    for name, content in BAD.items():
        (tmp_path / "sounds" / name).write_bytes(content)
    return tmp_path / "sounds"


def test_bad_files_in_training_and_evaluation(run, assert_error, conv2d_hparams, sounds, tmp_path):
    narrow = conv2d_hparams.with_name("conv2d_narrow.yaml")
    out = tmp_path / "out"
    command = ["train", narrow, "--data_folder", sounds, "-o", out, *TINY]
    assert_error(command, "3 files cannot be used", "--data.skip_bad true", *BAD)
    code, output, error = run(*command, "--data.skip_bad", "true", "--json")
    assert code == 0, error
    assert "3 files cannot be used and left out" in error
    assert all(name in error for name in BAD)
    assert json.loads(output)["labels"] == ["high", "low"]

    content = {
        "classifier": str(out / "model"),
        "methods": {"saliency": "saliency"},
        "data": {"class_path": "otoscope.data.AudioFolder", "init_args": {"data_folder": str(sounds)}},
        "areas": [0.2],
        "bootstrap": 100,
        "curves": False,
        "sanity": False,
        "randomisation": False,
        "stability": False,
        "conditions": {"white_noise": False, "mixture": False},
        "output_folder": str(tmp_path / "evaluation"),
    }
    hparams = tmp_path / "eval.yaml"
    hparams.write_text(yaml.safe_dump(content))
    assert_error(["evaluate", hparams], "3 files cannot be used", "--data.skip_bad true", *BAD)
    code, output, error = run("evaluate", hparams, "--data.skip_bad", "true", "--json")
    assert code == 0, error
    assert "3 files cannot be used and left out" in error
    assert 0 < json.loads(output)["conditions"]["clean"]["clips"] <= 13
