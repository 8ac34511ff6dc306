"""Every option whose type allows None takes ``null`` on the command line, at any depth."""

import importlib
import sys
import types
from pathlib import Path
from types import NoneType
from typing import get_args

import jsonargparse
import pytest

from otoscope.cli import convert, demo, evaluate, explain, train
from otoscope.cli.hparams import parse_hparams
from otoscope.cli.options import make_parser, parse

RECIPES = sorted(Path(__file__).parents[2].glob("recipes/ESC50/*/hparams/*.yaml"))

REQUIRED = ("model", "data")
"""Options whose type jsonargparse widens by None although they must be given."""


def nullable(parser):
    """Return the names of the options of a parser that allow None."""
    return [
        action.dest
        for action in parser._actions
        if NoneType in get_args(getattr(action, "_typehint", None))
        and action.option_strings
        and not action.dest.endswith(".help")
        and action.dest not in REQUIRED
    ]


def nullable_of_classes(options, prefix=""):
    """Yield the dotted names of the options of all classes in a namespace that allow None."""
    if not isinstance(options, jsonargparse.Namespace):
        return
    arguments = options
    if isinstance(options.get("class_path"), str):
        module, _, name = options.class_path.rpartition(".")
        parser = jsonargparse.ArgumentParser(exit_on_error=False)
        parser.add_class_arguments(getattr(importlib.import_module(module), name), fail_untyped=False)
        arguments = options.get("init_args", jsonargparse.Namespace())
        for name in nullable(parser):
            if name in arguments:
                yield prefix + name
    for name, value in vars(arguments).items():
        yield from nullable_of_classes(value, f"{prefix}{name}.")


def value_of(options, name):
    for part in name.split("."):
        if "class_path" in options:
            options = options.init_args
        options = options[part]
    return options


def assert_null(parse_with, names):
    # one command line for each depth, because null for an object leaves no options below it
    for depth in {name.count(".") for name in names}:
        chosen = [name for name in names if name.count(".") == depth]
        for arguments in ([f"--{n}=null" for n in chosen], [w for n in chosen for w in (f"--{n}", "null")]):
            options = parse_with(arguments)
            assert {name: value_of(options, name) for name in chosen} == dict.fromkeys(chosen)


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.stem)
def test_recipes(file):
    verb, build = (
        ("evaluate", evaluate.build_parser) if file.stem.startswith("eval") else ("train", train.build_parser)
    )

    def parse_with(arguments):
        folder = ["--data_folder=x"] if "ESC50" in file.read_text().partition("\ndata:")[2] else []
        return parse_hparams(verb, build, [str(file), *folder, *arguments], "--model").options

    names = list(dict.fromkeys(nullable_of_classes(parse_with([]))))
    assert names
    assert_null(parse_with, names)


@pytest.mark.parametrize("verb", [train, evaluate])
def test_options_of_the_verbs_with_hyperparameter_files(verb):
    name = "train" if verb is train else "evaluate"
    file = next(file for file in RECIPES if file.stem == ("piq" if verb is train else "eval_cnn14"))

    def parse_with(arguments):
        return parse_hparams(name, verb.build_parser, [str(file), "--data_folder=x", *arguments], "--model").options

    names = nullable(verb.build_parser())
    assert "output_folder" in names
    assert_null(parse_with, names)


@pytest.mark.parametrize(("verb", "positional"), [(explain, ["x.wav"]), (convert, ["a", "b"]), (demo, [])])
def test_options_of_the_other_verbs(verb, positional):
    assert_null(
        lambda arguments: parse(verb.build_parser(), [*positional, *arguments]), nullable(verb.build_parser())
    )


class Inner:
    def __init__(
        self, weights: str | list[str | None] | None = "there", mapping: dict[str, str | None] | None = None
    ):
        self.weights = weights


class Outer:
    def __init__(self, inner: Inner, name: str | None = None):
        self.inner = inner


@pytest.fixture
def nested(monkeypatch):
    """A function that parses options of a class within a class."""
    monkeypatch.setitem(sys.modules, "nested_options", types.SimpleNamespace(Inner=Inner, Outer=Outer))
    for kind in (Inner, Outer):
        monkeypatch.setattr(kind, "__module__", "nested_options")

    def parse_nested(*arguments):
        parser = make_parser("test", "")
        parser.add_subclass_arguments(Outer, "outer")
        classes = ["--outer=nested_options.Outer", "--outer.inner=nested_options.Inner"]
        return parse(parser, [*classes, *arguments]).outer.init_args.inner.init_args

    return parse_nested


@pytest.mark.parametrize("text", ["null", "Null", "NULL", "~"])
def test_every_spelling_of_null(nested, text):
    assert nested(f"--outer.inner.weights={text}").weights is None
    assert nested("--outer.inner.weights", text).weights is None


@pytest.mark.parametrize("text", ["None", "none", "nothing"])
def test_words_stay_words(nested, text):
    assert nested(f"--outer.inner.weights={text}").weights == text


def test_null_within_lists_and_mappings(nested):
    assert nested("--outer.inner.weights=[first, null]").weights == ["first", None]
    assert nested("--outer.inner.weights=[first, None]").weights == ["first", "None"]
    assert nested("--outer.inner.mapping", "{a: null, b: None}").mapping == {"a": None, "b": "None"}
