"""Hyperparameter files of ESC-50, used for the user's own recordings."""

import json

import numpy as np
import pytest
import soundfile
import yaml

FAST = ["--trainer.max_epochs=1", "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"]
TINY = ["--model.classifier.width=4", "--model.classifier.head_width=4", *FAST]


@pytest.fixture
def sounds(tmp_path):
    """Create three short tones of each of three classes, two of which YAML reads as other values."""
    for label, pitch_hz in (("no", 300), ("0", 900), ("1.0", 2000)):
        for number in range(4):
            path = tmp_path / "sounds" / label / f"{number}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            time_s = np.arange(3000 + 100 * number) / 8000
            soundfile.write(path, 0.5 * np.sin(2 * np.pi * pitch_hz * (1 + 0.01 * number) * time_s), 8000)
    return tmp_path / "sounds"


@pytest.fixture
def narrow(conv2d_hparams):
    return conv2d_hparams.with_name("conv2d_narrow.yaml")


def record_of(folder):
    return yaml.safe_load((folder / "hyperparams.yaml").read_text())


def test_settings_follow_from_the_recordings(run, narrow, sounds, tmp_path):
    out = tmp_path / "out"
    code, output, error = run("train", narrow, "--data_folder", sounds, "-o", out, *TINY)
    assert code == 0, error
    assert "sounds: not in the layout of ESC-50, so it is read as otoscope.data.AudioFolder" in output
    assert "12 recordings of 3 classes (at least 4 each, median 0.39 s, 8000 Hz)" in output
    assert "linear baseline (log-mel mean and deviation, logistic regression)" in output
    record = record_of(out)
    model = record["model"]["init_args"]
    frontend = model["classifier"]["init_args"]["frontend"]["init_args"]
    assert (frontend["sample_rate_hz"], frontend["n_fft"], frontend["hop_ms"]) == (8000, 256, 8.0)
    assert (model["time_shift"], model["mixup_alpha"], model["speed_change"]) == (False, 0.0, 0.15)
    assert record["trainer"]["max_epochs"] == 1
    test = json.loads((out / "test.json").read_text())
    assert test["labels"] == ["0", "1.0", "no"]
    assert test["linear_baseline"] == 1.0

    # A model that was trained at 8 kHz sets the rate of its interpreter's data, and labels are words for explain.
    piq = narrow.parents[2] / "interpret" / "hparams" / "piq.yaml"
    options = [
        "--model.classifier",
        out / "model",
        "--data_folder",
        sounds,
        "-o",
        tmp_path / "piq",
        "--model.codes=12",
    ]
    code, output, error = run("train", piq, *options, *FAST)
    assert code == 0, error
    assert "settings that follow" not in output
    clip = sounds / "no" / "0.wav"
    code, output, error = run(
        "explain", clip, "--model", tmp_path / "piq", "--target", "no", "--json", "-o", tmp_path / "e"
    )
    assert code == 0, error
    assert json.loads(output)[0]["label"] == "no"


def test_options_and_the_user_s_own_files_come_first(run, narrow, sounds, tmp_path):
    chosen = ["--model.classifier.frontend.sample_rate_hz=16000", "--model.mixup_alpha=0.2", "--batch_size=5"]
    command = ["train", narrow, "--data", "otoscope.data.AudioFolder", "--data_folder", sounds, *TINY]
    code, _, error = run(*command, "-o", tmp_path / "a", *chosen)
    assert code == 0, error
    model = record_of(tmp_path / "a")["model"]["init_args"]
    assert model["classifier"]["init_args"]["frontend"]["init_args"]["n_fft"] == 512
    assert (model["mixup_alpha"], model["time_shift"]) == (0.2, False)
    assert record_of(tmp_path / "a")["data"]["init_args"]["batch_size"] == 5

    content = yaml.safe_load(narrow.read_text()) | {"data": {"class_path": "otoscope.data.AudioFolder"}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
    code, _, error = run("train", tmp_path / "mine.yaml", "--data_folder", sounds, "-o", tmp_path / "b", *TINY)
    assert code == 0, error
    model = record_of(tmp_path / "b")["model"]["init_args"]
    assert (model["time_shift"], model["mixup_alpha"]) == (True, 0.4)
    assert model["classifier"]["init_args"]["frontend"]["init_args"]["sample_rate_hz"] == 8000

    code, output, error = run(*command, "-o", tmp_path / "c", "--follow_data=false")
    assert code == 0, error
    assert "settings that follow" not in output
    model = record_of(tmp_path / "c")["model"]["init_args"]
    assert model["classifier"]["init_args"].get("frontend") is None
    assert (model["time_shift"], model["mixup_alpha"]) == (True, 0.4)


def test_a_resumed_run_keeps_its_settings(run, narrow, sounds, tmp_path):
    command = ["train", narrow, "--data_folder", sounds, "-o", tmp_path / "out", *TINY]
    assert run(*command)[0] == 0
    for number in range(4, 9):  # longer than two seconds: a new run would have other settings
        soundfile.write(sounds / "no" / f"{number}.wav", np.random.default_rng(number).uniform(-1, 1, 24_000), 8000)
        soundfile.write(sounds / "0" / f"{number}.wav", np.random.default_rng(number).uniform(-1, 1, 24_000), 8000)
    before = record_of(tmp_path / "out")
    code, _, error = run(*command, "--model.schedule=constant")
    assert code == 2
    assert "model.init_args.schedule was one_cycle, is constant)" in error  # nothing else differs
    assert record_of(tmp_path / "out") == before


def test_settings_follow_where_the_command_line_names_the_classes(run, sounds, tmp_path):
    # The settings of a class can only be read after its name.
    classes = ["--model=otoscope.training.ClassifierTraining", "--model.classifier=otoscope.Conv2dClassifier"]
    classes += ["--model.classifier.width=2", "--model.classifier.depth=2", "--data=otoscope.data.AudioFolder"]
    code, _, error = run("train", *classes, f"--data_folder={sounds}", "-o", tmp_path / "out", *FAST)
    assert code == 0, error
    frontend = record_of(tmp_path / "out")["model"]["init_args"]["classifier"]["init_args"]["frontend"]
    assert frontend["init_args"]["sample_rate_hz"] == 8000


def test_a_table_may_be_the_data_folder(run, narrow, sounds, tmp_path):
    rows = [f"{path.parent.name}/{path.name};{path.parent.name}" for path in sorted(sounds.rglob("*.wav"))]
    (sounds / "list.csv").write_text("\n".join(["file;class", *rows]))
    code, output, error = run(
        "train", narrow, "--data_folder", sounds / "list.csv", "-o", tmp_path / "o", *TINY, "--json"
    )
    assert code == 0, error
    assert json.loads(output)["labels"] == ["0", "1.0", "no"]


def test_a_rate_that_does_not_fit_is_reported_before_decoding(assert_error, narrow, sounds, tmp_path):
    (sounds / "no" / "0.wav").write_bytes(b"no sound")  # decoding would report it
    options = [
        "--data_folder",
        sounds,
        "-o",
        tmp_path / "o",
        *TINY,
        "--follow_data=false",
        "--data.sample_rate_hz=8000",
    ]
    assert_error(
        ["train", narrow, "--data", "otoscope.data.AudioFolder", *options],
        "data.sample_rate_hz: the clips are to have 8000 Hz, but the model's front-end takes 16000 Hz",
    )


def test_words_that_yaml_reads_as_other_values_are_classes(run, assert_error, narrow, sounds, tmp_path):
    command = ["train", narrow, "--data", "otoscope.data.AudioFolder", "--data_folder", sounds, *TINY]
    code, output, error = run(*command, "--data.classes=[no, 1.0]", "-o", tmp_path / "o", "--json")
    assert code == 0, error
    assert json.loads(output)["labels"] == ["1.0", "no"]
    synthetic = ["train", narrow, "--data", "otoscope.data.Synthetic", "-o", tmp_path / "q", *TINY]
    assert_error([*synthetic, "--data.classes=[yes]"], "YAML reads yes", "in quotes")
    assert_error(
        [*command, "--data.classes=[yes]", "-o", tmp_path / "p"], "classes: true not in", "there are 0, 1.0, no"
    )
