"""WHAM! noise and LJSpeech: fetched when asked for, resumed after an interruption, verified."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from otoscope.data.download import fetch_archive

WHAM_URL = "https://my-bucket-a8b4b49c25c811ee9a7e8bba05fa24c7.s3.amazonaws.com/wham_noise.zip"
# Neither its authors nor this project have a checksum of these 17.65 GB: the CRC of each member is compared
# while unpacking, and the three parts must be there.
WHAM_CHECKSUM = None
LJSPEECH_URL = "https://data.keithito.com/data/speech/LJSpeech-1.1.tar.bz2"
# As other public projects pin it; not verified here by a download of the 2.7 GB.
LJSPEECH_CHECKSUM = "sha256:be1a30453f28eb8dd26af4101ae40cbf2c50413b1bb21936cbcdc6fae3de8aa5"


def fetch_wham(folder: Path) -> Path:
    """Downloads WHAM! noise (17.65 GB), unless the folder holds it; licensed CC BY-NC 4.0.

    Args:
        folder: To make, with ``tr``, ``cv`` and ``tt`` in it.

    Raises:
        DownloadError: It cannot be fetched, verified, unpacked or written.
    """
    return fetch_archive(WHAM_URL, folder, WHAM_CHECKSUM, contents=("tr/", "cv/", "tt/"))


def fetch_ljspeech(folder: Path) -> Path:
    """Downloads LJSpeech (2.7 GB), unless the folder holds it; in the public domain.

    Args:
        folder: To make, with ``wavs`` in it.

    Raises:
        DownloadError: It cannot be fetched, verified, unpacked or written.
    """
    return fetch_archive(LJSPEECH_URL, folder, LJSPEECH_CHECKSUM, contents=("metadata.csv", "wavs/"))


FETCH: Mapping[str, Callable[[Path], Path]] = MappingProxyType({"wham": fetch_wham, "speech": fetch_ljspeech})
"""By condition of the evaluation."""
