"""Options of the data sets on the command line: those of `SoundData` are handed on, misspelt ones refused."""

import jsonargparse
import pytest

from otoscope.data import SoundData

SHARED = ("batch_size", "num_workers", "sample_rate_hz", "seed", "cache_folder")
CLASSES = ("ESC50", "AudioFolder", "Synthetic")


@pytest.fixture
def parser():
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(SoundData, "data")
    return parser


def parse(parser, name, *options):
    folder = [] if name == "Synthetic" else ["--data.data_folder", "sounds"]
    return parser.parse_args(["--data", f"otoscope.data.{name}", *folder, *options]).data.init_args


@pytest.mark.parametrize("name", CLASSES)
def test_help_shows_the_options_of_class_and_base(parser, capsys, name):
    with pytest.raises(SystemExit):
        parser.parse_args([f"--data.help=otoscope.data.{name}"])
    text = capsys.readouterr().out
    shown = [option for option in SHARED if f"--data.{option} " in text]
    assert shown == list(SHARED if name != "Synthetic" else SHARED[:-1])
    assert "Number of worker processes" in text
    assert ("--data.clips_per_class" if name == "Synthetic" else "--data.data_folder") in text
    assert "--data.options" not in text


@pytest.mark.parametrize("name", CLASSES)
def test_shared_options_are_accepted_with_the_defaults_of_the_base(parser, name):
    options = parse(parser, name, "--data.batch_size", "4", "--data.seed", "7")
    assert (options.batch_size, options.seed) == (4, 7)
    assert (options.num_workers, options.sample_rate_hz) == (0, None)  # None: that of the model


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("option", ["--data.batchsize", "--data.train_fold"])
def test_misspelt_options_are_refused(parser, name, option):
    with pytest.raises(jsonargparse.ArgumentError, match=option.removeprefix("--data.")):
        parse(parser, name, option, "4")


def test_wrong_types_are_refused(parser):
    with pytest.raises(jsonargparse.ArgumentError, match="batch_size"):
        parse(parser, "ESC50", "--data.batch_size", "many")


def test_synthetic_scenes_have_no_cache(parser):
    with pytest.raises(jsonargparse.ArgumentError, match="cache_folder"):
        parse(parser, "Synthetic", "--data.cache_folder", "x")


def test_misspelt_options_are_refused_in_python():
    from otoscope.data import ESC50

    with pytest.raises(TypeError, match="batchsize"):
        ESC50("sounds", batchsize=4)
