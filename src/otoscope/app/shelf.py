"""Results of the app in a folder of its own: each under a name that nobody can guess, removed after a while."""

from __future__ import annotations

import re
import secrets
import shutil
import threading
import time
from pathlib import Path

FILES = {
    "report.html": "text/html; charset=utf-8",
    "explanation.zip": "application/zip",
}
"""Files of a result that are served, with their kinds."""
_TOKEN = re.compile(r"[A-Za-z0-9_-]{22}")


class Shelf:
    """Results in a folder, and how long they stay.

    Args:
        folder: Folder of the results, which is made.
        keep_s: Seconds after which a result is removed.
    """

    def __init__(self, folder: Path, keep_s: float) -> None:
        self.folder = folder
        self.keep_s = keep_s
        folder.mkdir(parents=True, exist_ok=True)

    def add(self) -> str:
        """Make the folder of a new result and return its name, which has 128 random bits."""
        token = secrets.token_urlsafe(16)
        (self.folder / token).mkdir()
        return token

    def remove(self, token: str) -> None:
        """Remove a result.

        Args:
            token: Name of the result.
        """
        shutil.rmtree(self.folder / token, ignore_errors=True)

    def file(self, token: str, name: str) -> Path | None:
        """Return a file of a result; None if it does not exist or is not served.

        Args:
            token: Name of the result, as a request states it.
            name: Name of the file, as a request states it.
        """
        if _TOKEN.fullmatch(token) is None or name not in FILES:
            return None
        path = self.folder / token / name
        return path if path.is_file() else None


def remove_old(folder: Path, keep_s: float, now_s: float | None = None) -> int:
    """Remove the files and folders in a folder that are older than a limit, and return their number.

    Args:
        folder: Folder.
        keep_s: Age in seconds from which on they are removed.
        now_s: Time, in seconds since the epoch (default: now).
    """
    now_s = time.time() if now_s is None else now_s
    removed = 0
    for path in list(folder.iterdir()) if folder.is_dir() else []:
        try:
            age_s = now_s - path.stat().st_mtime
        except FileNotFoundError:
            continue
        if age_s > keep_s:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
            removed += 1
    return removed


def folder_bytes(folder: Path) -> int:
    """Return the size of all files below a folder.

    Args:
        folder: Folder.
    """
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:  # removed meanwhile
            continue
    return total


class Cleaner(threading.Thread):
    """Thread that removes old results and uploads until it is stopped.

    Args:
        folders: Folders whose content is removed.
        keep_s: Age in seconds from which on it is removed.
        every_s: Seconds between two rounds.
    """

    def __init__(self, folders: list[Path], keep_s: float, every_s: float = 30.0) -> None:
        super().__init__(name="otoscope-cleaner", daemon=True)
        self.folders, self.keep_s, self.every_s = folders, keep_s, every_s
        self._stopped = threading.Event()

    def run(self) -> None:
        """Remove what is old, again and again."""
        while not self._stopped.wait(min(self.every_s, self.keep_s)):
            for folder in self.folders:
                remove_old(folder, self.keep_s)

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        self.join()
