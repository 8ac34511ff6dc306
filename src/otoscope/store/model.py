"""Base class of the networks that model folders hold."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from torch import nn

Role = Literal["classifier", "interpreter", "dictionary"]
WITH_ARTICLE = {"classifier": "a classifier", "interpreter": "an interpreter", "dictionary": "a dictionary"}
"""Roles as they stand in messages."""


class StoredModel(nn.Module):
    """Base class of the networks that model folders hold: classifiers, interpreters and dictionaries.

    Attributes:
        role: Value of ``kind`` in the folder's configuration.
        unsaved_arguments: Arguments of the constructor that stand nowhere under ``init``; a folder that has them
            there is refused.
        saved_types: Types that arguments have under ``init``, where the constructor accepts more than a folder may
            hold, such as paths and objects.
        details: JSON values kept beside the model, such as ``metrics``.
    """

    role: ClassVar[Role]
    unsaved_arguments: ClassVar[tuple[str, ...]] = ()
    saved_types: ClassVar[Mapping[str, Any]] = {}
    details: dict[str, Any]

    @classmethod
    def from_folder(cls, config: Mapping[str, Any], folder: Path, **given: Any) -> Self:
        """Build the model that a folder describes, before its weights are loaded.

        Args:
            config: Configuration of the folder.
            folder: The folder.
            **given: Arguments that replace those of the configuration.
        """
        raise NotImplementedError

    def check_weights(self, folder: Path) -> None:
        """Raise a `CheckpointError` if the loaded weights are impossible.

        Args:
            folder: Folder they come from, for the message.
        """
