"""Archives of data sets: downloaded with resuming, verified, and unpacked completely or not at all.

The archive and the folder that is being unpacked lie in a hidden folder beside the destination, `.<name>.download`.
The last step is therefore a rename on one disk: a process that is killed leaves an archive to resume from, never
half a data set.
"""

import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType

from filelock import FileLock

from otoscope.errors import DownloadError
from otoscope.files.http import describe_failure, download_file

# There is no published checksum of these 17.65 GB: the CRC of each member is verified, and the parts must exist.
WHAM_URL = "https://my-bucket-a8b4b49c25c811ee9a7e8bba05fa24c7.s3.amazonaws.com/wham_noise.zip"
LJSPEECH_URL = "https://data.keithito.com/data/speech/LJSpeech-1.1.tar.bz2"
# The value that other public projects pin; we have not verified it by downloading the 2.7 GB.
LJSPEECH_CHECKSUM = "sha256:be1a30453f28eb8dd26af4101ae40cbf2c50413b1bb21936cbcdc6fae3de8aa5"

Check = Callable[[Path, Path], None]


def fetch_archive(
    url: str,
    destination: Path,
    checksum: str | None,
    *,
    retries: int = 3,
    progress: bool = True,
    contents: Sequence[str] = (),
    check: Check | None = None,
) -> Path:
    """Download a zip or tar archive, unpack it to a folder that appears only when complete, and return the folder.

    A call after an interruption resumes if the server supports it. Processes with the same destination wait for the
    first one. A destination that exists and is not empty does not change.

    Args:
        url: Address of the archive, http or https.
        destination: Folder to create. If the archive holds a single folder, its content is taken.
        checksum: Digest of the archive, `sha256:...` or `md5:...`; None if there is none.
        retries: Further attempts after a lost connection, a short answer or a server error.
        progress: Show a progress bar on standard error.
        contents: Paths that the folder must hold, relative to it; the error message names them too.
        check: Called with the unpacked folder and the archive before the folder takes its place; raises
            DownloadError if the content is not as expected.

    Raises:
        DownloadError: The archive cannot be downloaded, verified, unpacked or written.
    """
    target = Path(destination).resolve()
    folder = target.with_name(f".{target.name}.download")
    try:
        # Usually the data set is there already, and no lock is needed.
        if not _is_filled(target):
            with _locked(folder):
                if not _is_filled(target):  # another process may have been faster
                    archive = download_file(url, folder, checksum, retries, progress)
                    _install(archive, target, folder / "unpacked", contents, check)
        elif missing := _missing(target, contents):
            raise DownloadError(f"{target} exists but lacks {missing} (move it away to download it again)")
    except (DownloadError, OSError) as error:
        places = " and ".join(f"{target}/{path}" for path in contents) or str(target)
        advice = f"Download it in another way and unpack it so that the next run finds {places}."
        raise DownloadError(f"Cannot download {url}: {describe_failure(error)}. {advice}") from error
    return destination


def fetch_wham(destination: Path) -> Path:
    """Download WHAM! noise (17.65 GB, CC BY-NC 4.0) into a folder with ``tr``, ``cv`` and ``tt``."""
    return fetch_archive(WHAM_URL, destination, None, contents=("tr/", "cv/", "tt/"))


def fetch_ljspeech(destination: Path) -> Path:
    """Download LJSpeech (2.7 GB, public domain) into a folder with ``wavs``."""
    return fetch_archive(LJSPEECH_URL, destination, LJSPEECH_CHECKSUM, contents=("metadata.csv", "wavs/"))


FETCH: Mapping[str, Callable[[Path], Path]] = MappingProxyType({"wham": fetch_wham, "speech": fetch_ljspeech})
"""Download of the recordings that a condition of the evaluation needs, by condition."""


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Create and lock the working folder; remove it in the end unless it holds something to resume from."""
    lock = folder.with_name(f"{folder.name}.lock")
    with FileLock(lock):
        folder.mkdir(exist_ok=True)
        try:
            yield
        finally:
            with suppress(OSError):
                folder.rmdir()  # fails if it is not empty
            # A process that waits for the removed lock notices that it is gone and creates a new one.
            with suppress(OSError):
                lock.unlink()


def _install(archive: Path, target: Path, folder: Path, contents: Sequence[str], check: Check | None) -> None:
    shutil.rmtree(folder, ignore_errors=True)  # remains of a killed process
    try:
        _unpack(archive, folder)
        entries = list(folder.iterdir())
        root = entries[0] if len(entries) == 1 and entries[0].is_dir() else folder
        if missing := _missing(root, contents):
            raise DownloadError(f"the archive lacks {missing}")
        if check is not None:
            check(root, archive)
        if target.exists():
            target.rmdir()  # an empty folder would be in the way of the rename
        # Everything has been checked: the data set appears in one step.
        root.rename(target)
        archive.unlink()
    except DownloadError:
        archive.unlink()  # so that the next run downloads it again
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _unpack(archive: Path, folder: Path) -> None:
    folder.mkdir()
    try:
        if zipfile.is_zipfile(archive) or not tarfile.is_tarfile(archive):
            with zipfile.ZipFile(archive) as bundle:
                # Verifies the CRC of each member. Absolute names and ".." are cut off; a link becomes a plain file.
                bundle.extractall(folder)
        else:
            with tarfile.open(archive) as bundle:
                bundle.extractall(folder, filter="data")  # refuses paths and links that lead out, and devices
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, RuntimeError) as error:
        raise DownloadError(f"the archive is damaged or unsafe ({error}) and was removed") from error


def _is_filled(folder: Path) -> bool:
    return folder.exists() and any(folder.iterdir())


def _missing(folder: Path, contents: Sequence[str]) -> str:
    return ", ".join(path for path in contents if not (folder / path).exists())
