"""Misspelt verbs, options, classes and values are answered with close names."""

import pytest

from otoscope.cli.suggestions import with_suggestions

PIQ = "recipes/ESC50/interpret/hparams/piq.yaml"
CONV2D = "recipes/ESC50/classification/hparams/conv2d.yaml"


@pytest.fixture(autouse=True)
def _in_the_repository(monkeypatch, request):
    monkeypatch.chdir(request.config.rootpath)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["explian"], "no verb 'explian'; did you mean 'explain'?"),
        (["explain", "a.wav", "--tagret", "dog"], "--tagret dog; did you mean --target?"),
        (["explain", "a.wav", "--axis", "mell"], "axis: there is no 'mell'; did you mean 'mel'?"),
        (["explain", "a.wav", "--method", "salience"], "did you mean 'saliency'?"),
        (["train", PIQ, "--data_folder=x", "--model.cods=3"], "--model.cods; did you mean --model.codes"),
        (
            ["train", CONV2D, "--data_folder=x", "--model.classifier.widht=3"],
            "did you mean --model.classifier.width",
        ),
        (["train", CONV2D, "--data_folder=x", "--lerning_rate=3"], "did you mean --model.learning_rate?"),
        (["train", CONV2D, "--data_folder=x", "--trainer.max_epoch=3"], "did you mean --trainer.max_epochs"),
        (["train", CONV2D, "--data=ECS50"], "data: there is no 'ECS50'; did you mean 'ESC50'?"),
        (["explain", "a.wav", "--window_s", "five"], "window_s: expected a finite number, got five"),
        (["explain", "a.wav", "--start_s", "nan"], "start_s: expected a finite number, got nan"),
        (["explain", "a.wav", "--tables", "raven", "cvs"], "tables: there is no 'cvs'; did you mean 'csv'?"),
        (["train", "--model=PIQQ"], "model: there is no 'PIQQ'; did you mean 'PIQ'?"),
        (["train", CONV2D.replace("conv2d.", "conv2.")], f"did you mean {CONV2D}"),
    ],
)
def test_close_names_are_given(assert_error, arguments, words):
    assert_error(arguments, words)


def test_what_is_not_close_is_not_suggested():
    assert with_suggestions("unrecognized arguments: --xyz", ["--target"]) == "unrecognized arguments: --xyz"
    assert with_suggestions("another message", ["--target"]) == "another message"
