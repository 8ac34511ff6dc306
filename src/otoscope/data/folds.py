"""Dividing clips into training, validation and test: by fold, by named split, or at random by class."""

from __future__ import annotations

import random
from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

from otoscope.errors import ConfigurationError, DataError

Item = TypeVar("Item")
SPLITS = ("train", "valid", "test")


def split_by_fold(
    items: Sequence[tuple[Item, int]], folds: Mapping[str, Sequence[int]], source: str
) -> dict[str, list[Item]]:
    """Divides items by their fold.

    Args:
        items: Each with its fold.
        folds: Folds of ``train``, ``valid`` and ``test``.
        source: Names the data in errors.

    Raises:
        ConfigurationError: A fold is asked for twice or is not there, or a split gets none; the message
            names fold and options.

    Example:
        >>> split_by_fold([("a", 1), ("b", 2), ("c", 3)], {"train": [1], "valid": [2], "test": [3]}, "x")
        {'train': ['a'], 'valid': ['b'], 'test': ['c']}
    """
    present = sorted({fold for _, fold in items})
    taken: dict[int, str] = {}
    for name, wanted in folds.items():
        if not wanted:
            raise ConfigurationError(f"{name}_folds: is empty; give one or more of the folds {present}")
        for fold in wanted:
            if fold in taken:
                raise ConfigurationError(
                    f"{name}_folds: fold {fold} is in {taken[fold]}_folds too; a clip may serve one purpose only"
                    if taken[fold] != name
                    else f"{name}_folds: fold {fold} is named twice"
                )
            if fold not in present:
                raise ConfigurationError(
                    f"{name}_folds: there is no fold {fold} in {source}, which has the folds {present}"
                )
            taken[fold] = name
    result: dict[str, list[Item]] = {name: [] for name in folds}
    for item, fold in items:
        if fold in taken:
            result[taken[fold]].append(item)
    return result


def split_at_random(
    items: Sequence[Item], strata: Sequence[Hashable], shares: tuple[float, float], seed: int
) -> dict[str, list[Item]]:
    """Divides items at random, class by class, so that each split has each class.

    Args:
        items: What to divide.
        strata: Class of each.
        shares: Of validation and of test; training gets the rest.
        seed: Same seed, same division.

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
                f"class {stratum!r} has {len(members)} clips; three are the least that can be divided into "
                "training, validation and test (add clips, or give a CSV with a split column)"
            )
        random.Random(f"{seed}/{stratum}").shuffle(members)
        valid, test = (max(1, round(share * len(members))) for share in shares)
        valid, test = min(valid, len(members) - 2), min(test, len(members) - 1 - min(valid, len(members) - 2))
        result["valid"] += members[:valid]
        result["test"] += members[valid : valid + test]
        result["train"] += members[valid + test :]
    return result
