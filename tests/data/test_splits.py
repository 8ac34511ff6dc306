"""Division of clips: each clip in one set, each class in every set."""

from collections import Counter

import pytest

from otoscope.data.splits import hold_back, split_at_random, split_by_fold
from otoscope.errors import ConfigurationError, DataError


def test_other_folds_are_left_out():
    items = [(str(fold), fold) for fold in (1, 2, 3, 4)]
    split = split_by_fold(items, {"train": [4], "valid": [1], "test": [3]}, "x")
    assert split == {"train": ["4"], "valid": ["1"], "test": ["3"]}


@pytest.mark.parametrize("count", [3, 4, 5, 10, 40])
def test_random_division_has_every_item_once_and_every_class_in_each_set(count):
    items = [(label, number) for label in "ab" for number in range(count)]
    split = split_at_random(items, [label for label, _ in items], (0.15, 0.15), seed=0)
    assert sorted(item for part in split.values() for item in part) == sorted(items)
    for part in split.values():
        labels = Counter(label for label, _ in part)
        assert labels["a"] == labels["b"] >= 1


def test_random_division_of_a_class_does_not_depend_on_the_others():
    alone = split_at_random(list(range(9)), ["a"] * 9, (0.2, 0.2), seed=1)
    both = split_at_random(list(range(18)), ["a"] * 9 + ["b"] * 9, (0.2, 0.2), seed=1)
    assert {name: [item for item in part if item < 9] for name, part in both.items()} == alone


@pytest.mark.parametrize("shares", [(0.9, 0.05), (0.05, 0.9), (0.49, 0.49)])
def test_each_set_gets_a_clip_whatever_the_shares(shares):
    split = split_at_random(list(range(3)), ["a"] * 3, shares, seed=0)
    assert [len(part) for part in split.values()] == [1, 1, 1]


def test_shares_that_leave_nothing_to_train_on_are_refused():
    with pytest.raises(ConfigurationError, match="must be positive and leave something to train on"):
        split_at_random([1, 2, 3], ["a"] * 3, (0.6, 0.4), seed=0)


def test_held_back_groups_stay_together():
    items = [(label, recording, take) for label in "ab" for recording in range(8) for take in "AB"]
    remaining, held = hold_back(items, [i[0] for i in items], [i[:2] for i in items], share=0.25, seed=3)
    assert sorted(remaining + held) == items
    assert not {item[:2] for item in remaining} & {item[:2] for item in held}
    assert Counter(item[0] for item in held) == {"a": 4, "b": 4}


def test_each_class_keeps_and_holds_back_a_group():
    for share in (0.01, 0.99):
        remaining, held = hold_back([1, 2, 3], ["a"] * 3, [1, 2, 3], share, seed=0)
        assert remaining
        assert held
    with pytest.raises(DataError, match="'a' has clips of one recording only"):
        hold_back([1, 2], ["a", "a"], ["r", "r"], share=0.5, seed=0)
