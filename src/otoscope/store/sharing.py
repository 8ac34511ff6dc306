"""Save models as folders with a card, and share them on the hub."""

from __future__ import annotations

import os
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Self

from otoscope.errors import DownloadError, first_line
from otoscope.store.card import write_card
from otoscope.store.folder import write_folder
from otoscope.store.hub import hub_failures


class Shareable(ABC):
    """Base class of everything that can be saved as a model folder with a card and shared on the hub."""

    details: dict[str, Any]
    """JSON values kept beside the model, such as ``metrics``, ``data``, ``license`` and ``source``."""

    @abstractmethod
    def write_model(self, folder: Path, **details: Any) -> None:
        """Write the model's files into an existing folder.

        Args:
            folder: Target folder.
            **details: JSON values for the configuration.
        """

    def save_pretrained(self, folder: str | os.PathLike[str], **details: Any) -> Path:
        """Save a model folder with ``README.md``, the card that the hub shows.

        Args:
            folder: Target folder. A former model in it is replaced as a whole.
            **details: JSON values for configuration and card, such as ``metrics={"accuracy": 0.9}``,
                ``data="ESC-50, folds 1 to 3"``, ``license="apache-2.0"``. They are added to `details`.

        Raises:
            CheckpointError: The folder cannot be written.
        """
        return self._save(folder, Path(folder).name, details)

    def push_to_hub(
        self,
        repository: str,
        revision: str | None = None,
        private: bool | None = None,
        token: str | None = None,
        message: str = "Model and card",
        **details: Any,
    ) -> str:
        """Share the model on the hub.

        Args:
            repository: ``owner/name``, created if it does not exist.
            revision: Branch (default: the main branch).
            private: Whether a repository that is created is private (default: the owner's setting).
            token: Access token (default: the one that `hf auth login` saved).
            message: Commit message.
            **details: JSON values, see `save_pretrained`.

        Returns:
            Address of the commit.

        Raises:
            DownloadError: The hub cannot be reached, or it refuses the model.
        """
        from huggingface_hub import HfApi

        api = HfApi(token=token)
        try:
            with tempfile.TemporaryDirectory() as temporary:
                # Before the first request, so that an error while writing leaves no empty repository on the hub.
                folder = self._save(Path(temporary) / "model", repository, details)
                api.create_repo(repository, private=private, exist_ok=True)
                if revision is not None:
                    api.create_branch(repository, branch=revision, exist_ok=True)
                commit = api.upload_folder(
                    repo_id=repository, folder_path=folder, revision=revision, commit_message=message
                )
        except hub_failures() as error:
            raise DownloadError(
                f"{repository}: cannot be written on the hub ({first_line(error)}); check the name, the network "
                "and the token (`hf auth login`)"
            ) from error
        return str(commit.commit_url)

    def _save(self, folder: str | os.PathLike[str], name: str, details: dict[str, Any]) -> Path:
        def write(temporary: Path) -> None:
            # New details replace those with which the model was opened. The card reads the configuration, so it is
            # written second.
            self.write_model(temporary, **{**self.details, **details})
            write_card(temporary, name)

        return write_folder(folder, write)

    @classmethod
    @abstractmethod
    def from_pretrained(cls, source: str | os.PathLike[str], revision: str | None = None) -> Self:
        """Open a model that was saved with `save_pretrained`, written by a training, or shared on the hub.

        Args:
            source: Model folder, or ``owner/name`` on the hub.
            revision: Branch, tag or commit of the repository.

        Raises:
            CheckpointError: There is no such model, or it is of another kind.
            DownloadError: The model cannot be fetched.
        """
