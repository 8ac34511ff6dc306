"""Constructor arguments read back from objects."""

import json

import pytest

from otoscope.signatures import constructor_arguments


class Base:
    def __init__(self, classifier, area=0.2, sign="positive"):
        self.classifier = classifier
        self.area = area
        self.sign = sign


class Method(Base):
    """Hands further options on to its base class."""

    def __init__(self, classifier, steps=16, **options):
        super().__init__(classifier, **options)
        self.steps = steps


class Variant(Method):
    """Has the options of two base classes."""

    def __init__(self, classifier, rate=0.1, **options):
        super().__init__(classifier, **options)
        self.rate = rate


class Renamed(Method):
    """Inherits its constructor."""


class Closed(Method):
    """Takes no options of its base class."""

    def __init__(self, classifier, cells=(1, 1)):
        super().__init__(classifier, steps=3, area=0.5)
        self.cells = cells


def test_arguments_are_read_from_attributes():
    assert constructor_arguments(Base("net", area=0.1)) == {"classifier": "net", "area": 0.1, "sign": "positive"}


def test_options_of_base_classes_come_first():
    arguments = constructor_arguments(Variant("net", rate=0.3, steps=4, sign="absolute"))
    assert arguments == {"classifier": "net", "area": 0.2, "sign": "absolute", "steps": 4, "rate": 0.3}
    assert list(arguments) == ["area", "sign", "steps", "classifier", "rate"]


def test_arguments_make_an_equal_object():
    first = Variant("net", rate=0.3, steps=4, area=0.5)
    again = Variant(**constructor_arguments(first))
    assert vars(again) == vars(first)


def test_current_values_are_returned():
    method = Method("net", steps=4)
    method.steps = 9
    assert constructor_arguments(method, skip=("classifier", "area", "sign")) == {"steps": 9}


def test_inherited_constructor_has_the_same_arguments():
    assert constructor_arguments(Renamed("net", steps=2)) == constructor_arguments(Method("net", steps=2))


def test_constructor_without_options_hides_those_of_its_base_class():
    assert constructor_arguments(Closed("net")) == {"classifier": "net", "cells": [1, 1]}


def test_skipped_arguments_need_no_attribute():
    class Forgetful(Base):
        def __init__(self, dictionary, **options):
            super().__init__("net", **options)

    assert constructor_arguments(Forgetful("path"), skip=("dictionary", "classifier")) == {
        "area": 0.2,
        "sign": "positive",
    }
    with pytest.raises(AttributeError, match="dictionary"):
        constructor_arguments(Forgetful("path"))


def test_attributes_name_where_an_argument_is_kept():
    class Masking:
        def __init__(self, mask="soft", decoder="light"):
            self.mask_kind = mask
            self.decoder = decoder

        def mask(self):
            """Occupy the name of the argument."""

    assert constructor_arguments(Masking("hard"), attributes={"mask": "mask_kind"}) == {
        "mask": "hard",
        "decoder": "light",
    }


def test_properties_are_read_like_attributes():
    class Checked(Base):
        def __init__(self, level=0.5, **options):
            super().__init__("net", **options)
            self.level = level

        @property
        def level(self):
            return self._level

        @level.setter
        def level(self, value):
            self._level = round(value, 1)

    assert constructor_arguments(Checked(level=0.21), skip=("classifier",)) == {
        "area": 0.2,
        "sign": "positive",
        "level": 0.2,
    }


def test_tuples_become_lists_as_in_json():
    arguments = constructor_arguments(Closed("net", cells=(3, 5)))
    assert arguments["cells"] == [3, 5]
    assert json.loads(json.dumps(arguments)) == arguments


def test_keyword_only_arguments_are_read_and_positional_rests_are_not():
    class Layers:
        def __init__(self, first, *others, width=4):
            self.first, self.others, self.width = first, others, width

    assert constructor_arguments(Layers(1, 2, 3, width=8)) == {"first": 1, "width": 8}


def test_object_without_constructor_has_no_arguments():
    class Empty:
        pass

    assert constructor_arguments(Empty()) == {}
