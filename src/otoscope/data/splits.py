"""Division of clips into training, validation and test sets, by fold or at random within each class."""

from __future__ import annotations

import random
from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

from otoscope.errors import ConfigurationError, DataError

Item = TypeVar("Item")
SPLITS = ("train", "valid", "test")


def split_by_fold(
    items: Sequence[tuple[Item, int]],
    folds: Mapping[str, Sequence[int]],
    source: str,
    may_be_empty: Sequence[str] = (),
) -> dict[str, list[Item]]:
    """Divide items by their fold; items of folds that no split names are omitted.

    Args:
        items: Pairs of an item and its fold.
        folds: Folds of ``train``, ``valid`` and ``test``.
        source: Name of the data in error messages.
        may_be_empty: Splits that may have no folds.

    Raises:
        ConfigurationError: A fold is listed twice or does not exist, or a split has none; the message names
            the fold and the options.

    Example:
        >>> split_by_fold([("a", 1), ("b", 2), ("c", 3)], {"train": [1], "valid": [2], "test": [3]}, "x")
        {'train': ['a'], 'valid': ['b'], 'test': ['c']}
    """
    existing = sorted({fold for _, fold in items})
    split_of: dict[int, str] = {}
    for name, requested in folds.items():
        if not requested and name not in may_be_empty:
            raise ConfigurationError(f"{name}_folds: is empty; give one or more of the folds {existing}")
        for fold in requested:
            _check_fold(fold, name, split_of, existing, source)
            split_of[fold] = name
    result: dict[str, list[Item]] = {name: [] for name in folds}
    for item, fold in items:
        if fold in split_of:
            result[split_of[fold]].append(item)
    return result


def _check_fold(fold: int, name: str, split_of: Mapping[int, str], existing: Sequence[int], source: str) -> None:
    if split_of.get(fold) == name:
        raise ConfigurationError(f"{name}_folds: fold {fold} is listed twice")
    if fold in split_of:
        raise ConfigurationError(
            f"{name}_folds: fold {fold} is in {split_of[fold]}_folds too; a clip may be in one set only"
        )
    if fold not in existing:
        raise ConfigurationError(
            f"{name}_folds: there is no fold {fold} in {source}, which has the folds {existing}"
        )


def split_at_random(
    items: Sequence[Item], strata: Sequence[Hashable], shares: tuple[float, float], seed: int
) -> dict[str, list[Item]]:
    """Divide items at random, class by class, so that each split has clips of each class.

    The division of a class depends on the seed and on its own items alone, not on the other classes.

    Args:
        items: Items to divide.
        strata: Class of each item.
        shares: Share of validation and of test; training gets the rest.
        seed: Seed of the division.

    Raises:
        ConfigurationError: The shares leave nothing to train on.
        DataError: A class has fewer than three clips.
    """
    if min(shares) <= 0 or sum(shares) >= 1:
        raise ConfigurationError(
            f"valid_share, test_share: {shares} must be positive and leave something to train on"
        )
    groups: dict[Hashable, list[Item]] = {}
    for item, stratum in zip(items, strata, strict=True):
        groups.setdefault(stratum, []).append(item)
    result: dict[str, list[Item]] = {name: [] for name in SPLITS}
    for stratum, members in groups.items():
        if len(members) < 3:
            raise DataError(
                f"class {stratum!r} has {len(members)} clips; at least three are needed to divide it into "
                "training, validation and test (add clips, or give a CSV with a split column)"
            )
        # Random hashes a string seed in the same way in every process, unlike `hash`.
        random.Random(f"{seed}/{stratum}").shuffle(members)
        # Rounding must not leave a set without clips: each gets at least one, training included.
        valid, test = (max(1, round(share * len(members))) for share in shares)
        valid = min(valid, len(members) - 2)
        test = min(test, len(members) - 1 - valid)
        result["valid"] += members[:valid]
        result["test"] += members[valid : valid + test]
        result["train"] += members[valid + test :]
    return result


def hold_back(
    items: Sequence[Item], strata: Sequence[Hashable], groups: Sequence[Hashable], share: float, seed: int
) -> tuple[list[Item], list[Item]]:
    """Hold back a share of each class at random; items of one group, such as one recording, stay together.

    The choice in a class depends on the seed and on its own items alone, not on the other classes.

    Args:
        items: Items to divide.
        strata: Class of each item.
        groups: Group of each item.
        share: Share of the items of each class that is held back, in (0, 1). It is exceeded where the last group
            holds several items; at least one group of each class is held back, and at least one remains.
        seed: Seed of the choice.

    Returns:
        The remaining items and those that are held back, both in their former order.

    Raises:
        DataError: A class has items of one group only.

    Example:
        >>> hold_back(["a1", "a2", "b1", "c1"], ["x"] * 4, ["a", "a", "b", "c"], share=0.3, seed=1)
        (['b1', 'c1'], ['a1', 'a2'])
    """
    held: set[int] = set()
    for stratum in dict.fromkeys(strata):
        members = [index for index, other in enumerate(strata) if other == stratum]
        names = list(dict.fromkeys(groups[index] for index in members))
        if len(names) < 2:
            raise DataError(
                f"class {stratum!r} has clips of one recording only; at least two are needed to hold clips back "
                "for validation"
            )
        # Random hashes a string seed in the same way in every process, unlike `hash`.
        random.Random(f"{seed}/{stratum}").shuffle(names)
        chosen: set[int] = set()
        for name in names[:-1]:
            chosen |= {index for index in members if groups[index] == name}
            if len(chosen) >= round(share * len(members)):
                break
        held |= chosen
    return (
        [item for index, item in enumerate(items) if index not in held],
        [item for index, item in enumerate(items) if index in held],
    )
