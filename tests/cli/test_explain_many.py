"""``otoscope explain`` with several processes, chosen parts and shards."""

import pytest
import soundfile
import torch

from otoscope.classifiers import Conv2dClassifier
from otoscope.cli.explain import build_parser
from otoscope.explain import Explainer
from otoscope.explanation import DEFAULT_SHARD_PARTS, PARTS
from otoscope.interpreters import PIQInterpreter
from otoscope.recordings import iterate_results


@pytest.fixture
def arguments(tmp_path, experienced):
    classifier = experienced(Conv2dClassifier(["dog", "rain"], width=4, head_width=5))
    model = Explainer(classifier, PIQInterpreter(classifier, codes=8)).save_pretrained(tmp_path / "model")
    for index in range(3):
        path = tmp_path / "in" / f"{index}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, 0.1 * torch.randn(4000).numpy(), 16_000)
    (tmp_path / "in" / "broken.wav").write_bytes(b"")
    return ["explain", tmp_path / "in", "--model", model, "--out", tmp_path / "out", "--batch_size", "2"]


def test_shards_and_parts_from_the_command_line(run, arguments, tmp_path):
    options = ["--workers", "2", "--shards", "--keep", "evidence,mask"]
    code, output, error = run(*arguments, *options)
    assert code == 1
    assert output.count("shard-00000.parquet") == 3
    assert "3 explained, 1 failed" in error
    assert "broken.wav" in error
    stored = list(iterate_results(tmp_path / "out"))
    assert [each.name for each in stored] == ["0", "1", "2"]
    assert all(each.parts == ("json", "evidence", "mask") for each in stored)
    code, output, error = run(*arguments, *options, "--skip_existing")
    assert (code, output) == (1, "")
    assert "0 explained, 3 skipped, 1 failed" in error


def test_wrong_values_are_named(assert_error, arguments):
    assert_error([*arguments, "--workers", "0"], "--workers 0", "positive")
    assert_error([*arguments, "--keep", "masks"], "no part 'masks'", "mask")
    assert_error([*arguments, "--shards", "--keep", "components"], "in a shard")


def test_options_without_effect_on_long_recordings_are_named(run, arguments, tmp_path):
    arguments[1] = tmp_path / "in" / "0.wav"
    code, _, error = run(
        *arguments, "--window_s", "0.2", "--hop_s", "0.2", "--pages", "0", "--shards", "--keep", "mask"
    )
    assert code == 0
    assert "note: one recording is long and is explained window by window" in error
    assert "--keep, --shards have no effect there" in error
    assert "--backend" not in error
    assert (tmp_path / "out" / "0" / "timeline.json").exists()
    code, _, error = run(*arguments, "--shards", "--keep", "mask")
    assert code == 0
    assert "no effect" not in error


def test_help_names_the_parts():
    text = " ".join(build_parser().format_help().split())
    assert all(part in text.partition("--keep")[2] for part in PARTS)
    assert f"in shards {', '.join(DEFAULT_SHARD_PARTS)}" in text
