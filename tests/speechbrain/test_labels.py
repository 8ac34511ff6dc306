"""Label encoders of SpeechBrain."""

import pytest

from otoscope.errors import CheckpointError
from otoscope.speechbrain import read_labels


def test_labels_saved_by_speechbrain_are_read(speechbrain, tmp_path):
    labels = ["dog", "it's raining", 'a "quoted" => arrow', "Glocke läutet", "two\nlines"]
    encoder = speechbrain.CategoricalEncoder()
    encoder.update_from_iterable(labels)
    encoder.save(tmp_path / "label_encoder.txt")
    assert read_labels(tmp_path / "label_encoder.txt") == labels


def test_labels_are_ordered_by_number_and_settings_are_skipped(tmp_path):
    path = tmp_path / "label_encoder.txt"
    path.write_text(
        "'rain' => 1\n7 => 2\n'dog' => 0\n================\n'starting_index' => 0\n'unk_label' => 'x'\n"
    )
    assert read_labels(path) == ["dog", "rain", "7"]
    path.write_text("'rain' => 1\n'dog' => 0\n")
    assert read_labels(path) == ["dog", "rain"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "================\n",
        "dog\nrain\n",
        "'dog' => 1\n",
        "'dog' => 0\n'rain' => 0\n",
        "'dog' => 0\n'rain' => 2\n",
        "'dog' => zero\n",
        "__import__('os').system('touch canary') => 0\n",
        "(" * 5000 + " => 0\n",
        "\x80",
    ],
)
def test_invalid_label_encoders_are_refused(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "label_encoder.txt"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(CheckpointError, match=r"label_encoder\.txt"):
        read_labels(path)
    assert not (tmp_path / "canary").exists()
