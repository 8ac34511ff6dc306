"""One vocabulary of options: the same spelling, short forms and description in every verb."""

import importlib

import pytest

from otoscope.cli.main import VERBS
from otoscope.cli.options import SHARED, make_parser, parse, shorten
from otoscope.errors import OtoscopeError

# Every top-level option of the command line. A new one is added here on purpose, after a look at this list: does an
# option for the same thing exist already?
VOCABULARY = {
    *SHARED,
    "against",
    "annotations",
    "area",
    "areas",
    "audio",
    "axis",
    "backend",
    "band_hz",
    "baselines",
    "batch_size",
    "bootstrap",
    "borders",
    "channel",
    "check_clips",
    "classifier",
    "clips",
    "clips_per_class",
    "conditions",
    "config",
    "csv_file",
    "cue",
    "cue_level_db",
    "curves",
    "data",
    "data_folder",
    "end_s",
    "event_sounds",
    "explain",
    "explained_per_class",
    "fail_on",
    "folds",
    "follow_data",
    "function",
    "help",
    "help_trainer",
    "hop_s",
    "host",
    "interpretations",
    "keep",
    "keep_min",
    "labels",
    "license",
    "low_confidence",
    "max_duration_s",
    "max_upload_mb",
    "method",
    "methods",
    "min_confidence",
    "min_level_db",
    "model",
    "noisy_inputs",
    "normalize",
    "order",
    "output_file",
    "overlap",
    "pages",
    "paper",
    "picture",
    "port",
    "precision",
    "pretrained_interpreter",
    "print_config",
    "queue",
    "quick",
    "randomisation",
    "report",
    "results",
    "results_folder",
    "review",
    "review_file",
    "road",
    "sanity",
    "sanity_clips",
    "second_model",
    "segment_s",
    "segments",
    "shards",
    "shell",
    "shuffles",
    "single_sample",
    "skip_existing",
    "source",
    "stability",
    "start_s",
    "suspect_sounds",
    "tables",
    "target",
    "test_only",
    "threshold",
    "title",
    "top_k",
    "trainer",
    "window_s",
    "workers",
}


@pytest.fixture(params=VERBS)
def actions(request):
    """Options of a verb's parser."""
    module = importlib.import_module(f"otoscope.cli.{request.param}")
    return [action for action in module.build_parser()._actions if action.dest != "=="]


def _names(action):
    return [name for name in action.option_strings if name.startswith("--")] or [action.dest]


def test_options_are_spelt_with_underscores(actions):
    names = [name.removeprefix("--") for action in actions for name in _names(action)]
    assert names
    assert not [name for name in names if "-" in name]


def test_every_option_is_in_the_vocabulary(actions):
    assert {_names(action)[0].removeprefix("--").partition(".")[0] for action in actions} <= VOCABULARY


def test_shared_options_have_the_same_short_forms_and_description(actions):
    for action in actions:
        option = SHARED.get(action.dest)
        if option is None or not action.option_strings:
            continue
        assert action.option_strings == [f"--{action.dest}", *option.short_forms]
        assert action.help.startswith(option.help.removesuffix("."))


def test_short_forms_are_unique(actions):
    short = [name for action in actions for name in action.option_strings if not name.startswith("--")]
    assert set(short) <= {"-h", "-o"}
    assert len(short) == len(set(short))


@pytest.mark.parametrize("verb", ["demo", "train", "explain", "evaluate"])
def test_output_folder_has_short_forms(verb):
    module = importlib.import_module(f"otoscope.cli.{verb}")
    parser = module.build_parser()
    action = next(action for action in parser._actions if action.dest == "output_folder")
    assert action.option_strings == ["--output_folder", "--out", "-o"]


def test_spellings_of_the_output_folder_are_one_option():
    from otoscope.cli.demo import build_parser

    for option in ("--output_folder", "--out", "-o"):
        assert parse(build_parser(), [option, "somewhere"]).output_folder == "somewhere"


def test_abbreviations_and_hyphens_are_refused():
    from otoscope.cli.explain import build_parser

    for option in ("--skip-existing", "--output-folder=x", "--output=x"):
        with pytest.raises(OtoscopeError, match=rf"{option}.*\(see otoscope explain --help\)"):
            parse(build_parser(), ["a.wav", "--model=m", option])


def test_wrong_values_are_named():
    parser = make_parser("test", "A test.")
    parser.add_argument("--number", type=int, default=1)
    with pytest.raises(OtoscopeError, match=r"number.*many.*\(see otoscope test --help\)"):
        parse(parser, ["--number=many"])


def test_long_messages_are_shortened():
    assert shorten("a\n b") == "a b"
    assert shorten("x" * 1000) == "x" * 400 + " ..."
    assert shorten("Option 'lr' is not accepted", ["--model.lr=1"]) == "there is no option --model.lr"
