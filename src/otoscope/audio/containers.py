"""Sizes that the headers of sound files announce, compared with what the files hold.

libsndfile silently reads what it finds: a truncated file becomes a shorter recording, and a header whose size was
never filled in an empty one. This module reads the same headers to tell these cases apart.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple, Self

from otoscope.audio.flac import patch_for_unknown_length
from otoscope.errors import AudioError

Order = Literal["little", "big"]

_PLACEHOLDERS = (1 << 31, 1 << 32, 1 << 63, 1 << 64)
"""Sizes near these stand for "unknown": programs write them before they know the size, and into pipes."""
_PLACEHOLDER_MARGIN = 1 << 24
_PADDING_BYTES = 1 << 16
"""Zeros behind the sound up to this size are padding of a recorder, not sound."""
_SMALLEST_REST_BYTES = 64
_MOST_CHUNKS = 4096


@dataclass
class Container:
    """What the header of a file says about its size.

    Attributes:
        patches: Bytes that the header should hold, by their offset, where it holds placeholders.
        notes: Remarks for the user.
    """

    patches: dict[int, bytes] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class _Data(NamedTuple):
    """Part of a file that holds the sound.

    Attributes:
        start: Offset of its first byte.
        announced: Number of bytes that the header announces.
        field: Offset of the number in the header.
        width: Bytes of the number.
        order: Order of its bytes.
        extra: Difference between the number and ``announced``.
        chunks: Function from a file and an offset to the chunks from there on.
    """

    start: int
    announced: int
    field: int
    width: int
    order: Order
    extra: int
    chunks: Callable[[BinaryIO, int], Iterator[_Chunk]]


class _Chunk(NamedTuple):
    name: bytes
    size: int
    field: int
    start: int


def check_container(path: Path) -> Container:
    """Compare the size that a header announces with the file.

    Covers wav, RF64 and BW64, aiff and aifc, 8svx, Wave64, caf, au, and flac of unknown length. Other formats give
    no remarks.

    Args:
        path: Sound file.

    Raises:
        AudioError: Sound is missing at the end, or the header announces less than half of the sound.
    """
    container = Container(patch_for_unknown_length(path))
    with path.open("rb") as file:
        data = _find_data(file, container)
        if data is None:
            return container
        size = path.stat().st_size
        present = size - data.start
        rest = present - data.announced
        if present <= 0 or (data.announced == 0 and _is_metadata(file, data, size)):
            return container  # an empty recording; libsndfile reports it
        if _is_placeholder(data.announced, present):
            number = min(present + data.extra, 256**data.width - 1)
            container.patches[data.field] = number.to_bytes(data.width, data.order)
            text = f"its header holds a placeholder for the size ({data.announced + data.extra:#x})"
            container.notes.append(f"{text}: read to the end of the file")
        elif rest < 0:
            raise AudioError(
                f"{path}: truncated, {-rest} bytes of sound are missing; copy or export it again, or save the rest "
                "with ffmpeg -i IN OUT.wav"
            )
        elif rest >= _SMALLEST_REST_BYTES and not _is_metadata(file, data, size):
            _report_rest(path, data.announced, rest, container)
    return container


def _report_rest(path: Path, announced: int, rest: int, container: Container) -> None:
    """Report bytes behind the sound that are neither metadata nor padding."""
    # A 32-bit size wraps at 4 GiB, so that the header of a longer recording announces only the rest.
    text = f"its header announces {announced} bytes of sound, but {rest} more follow"
    if rest > announced:
        raise AudioError(
            f"{path}: {text} (a recording beyond 4 GiB, or a damaged header); write it again with ffmpeg "
            "-ignore_length 1 -i IN.wav OUT.w64"
        )
    container.notes.append(f"{text}: the header is damaged, or something was appended")


def _is_placeholder(announced: int, present: int) -> bool:
    if announced == 0:
        return True
    return announced > present and any(abs(announced - size) <= _PLACEHOLDER_MARGIN for size in _PLACEHOLDERS)


def _is_metadata(file: BinaryIO, data: _Data, size: int) -> bool:
    """Return whether chunks, tags or padding follow the announced sound."""
    end = data.start + data.announced
    file.seek(end)
    rest = file.read(_PADDING_BYTES + 1)
    if rest.startswith((b"TAG", b"ID3", b"APETAGEX")):
        return True
    if len(rest) <= _PADDING_BYTES and not rest.strip(b"\0"):
        return data.announced > 0
    # Some programs leave out the zero byte behind a chunk of odd length.
    return any(_are_chunks(data.chunks(file, start), size) for start in {end + end % 2, end})


def _are_chunks(chunks: Iterator[_Chunk], size: int) -> bool:
    """Return whether the first chunks have readable names and lie in the file."""
    last = None
    for last, _ in zip(chunks, range(16), strict=False):
        name = last.name[:4]
        if not (name.isascii() and name.decode("ascii").isprintable()) or last.start > size:
            return False
        if last.start + last.size > size + 1:
            return False
    return last is not None


def _find_data(file: BinaryIO, container: Container) -> _Data | None:
    magic = file.read(16)
    if magic[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64") and magic[8:12] == b"WAVE":
        return _find_wav(file, magic[:4], container)
    if magic[:4] == b"FORM" and magic[8:12] in (b"AIFF", b"AIFC", b"8SVX", b"16SV"):
        return _find_iff(file, magic[8:12])
    if magic[:4] == b"riff" and magic[4:8] == b"\x2e\x91\xcf\x11":
        return _find_w64(file)
    if magic[:4] == b"caff":
        return _find_caf(file)
    if magic[:4] in (b".snd", b"dns.") and len(magic) == 16:
        order: Order = "big" if magic[:4] == b".snd" else "little"
        start, announced = int.from_bytes(magic[4:8], order), int.from_bytes(magic[8:12], order)
        return _Data(start, announced, 8, 4, order, 0, lambda file, start: iter(()))
    return None


def _find_wav(file: BinaryIO, magic: bytes, container: Container) -> _Data | None:
    order: Order = "big" if magic == b"RIFX" else "little"
    if magic == b"BW64":  # of ITU-R BS.2088, the same as RF64, which libsndfile knows
        container.patches[0] = b"RF64"

    def chunks(file: BinaryIO, start: int) -> Iterator[_Chunk]:
        return _chunks(file, start, 4, 4, order)

    sizes: _Chunk | None = None
    for chunk in chunks(file, 12):
        if chunk.name == b"ds64" and magic in (b"RF64", b"BW64"):
            sizes = chunk
        if chunk.name != b"data":
            continue
        if sizes is None or chunk.size != 0xFFFFFFFF:
            return _Data(chunk.start, chunk.size, chunk.field, 4, order, 0, chunks)
        # Both 64-bit sizes: that of the whole file comes first, that of the sound second.
        file.seek(sizes.start + 8)
        announced = int.from_bytes(file.read(8), "little")
        return _Data(chunk.start, announced, sizes.start + 8, 8, order, 0, chunks)
    return None


def _find_iff(file: BinaryIO, kind: bytes) -> _Data | None:
    def chunks(file: BinaryIO, start: int) -> Iterator[_Chunk]:
        return _chunks(file, start, 4, 4, "big")

    name = b"SSND" if kind.startswith(b"AIF") else b"BODY"
    for chunk in chunks(file, 12):
        if chunk.name == name:
            return _Data(chunk.start, chunk.size, chunk.field, 4, "big", 0, chunks)
    return None


def _find_w64(file: BinaryIO) -> _Data | None:
    for chunk in _w64_chunks(file, 40):
        if chunk.name[:4] == b"data":
            return _Data(chunk.start, max(chunk.size, 0), chunk.field, 8, "little", 24, _w64_chunks)
    return None


def _find_caf(file: BinaryIO) -> _Data | None:
    def chunks(file: BinaryIO, start: int) -> Iterator[_Chunk]:
        return _chunks(file, start, 4, 8, "big", aligned=1)

    for chunk in chunks(file, 8):
        if chunk.name == b"data":
            return _Data(chunk.start, chunk.size, chunk.field, 8, "big", 0, chunks)
    return None


def _w64_chunks(file: BinaryIO, start: int) -> Iterator[_Chunk]:
    # The size of a chunk includes its header, a GUID of 16 bytes and the size; chunks start at multiples of 8.
    yield from _chunks(file, start + -start % 8, 16, 8, "little", aligned=8, header=24)


def _chunks(
    file: BinaryIO, start: int, name_bytes: int, size_bytes: int, order: Order, aligned: int = 2, header: int = 0
) -> Iterator[_Chunk]:
    """Yield chunks: a name, a size, the content, and zeros up to the next multiple of ``aligned``."""
    size_of_file = os.fstat(file.fileno()).st_size
    for _ in range(_MOST_CHUNKS):
        if start >= size_of_file:
            return
        file.seek(start)
        head = file.read(name_bytes + size_bytes)
        if len(head) < name_bytes + size_bytes:
            return
        size = int.from_bytes(head[name_bytes:], order) - header
        content = start + name_bytes + size_bytes
        yield _Chunk(head[:name_bytes], size, start + name_bytes, content)
        start = content + max(size, 0)
        start += -start % aligned


class PatchedFile:
    """File for reading, in which some bytes are replaced.

    Args:
        path: File.
        patches: New bytes by their offset.
    """

    def __init__(self, path: Path, patches: dict[int, bytes]) -> None:
        self._file = path.open("rb")
        self._patches = patches

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes."""
        start = self._file.tell()
        content = self._file.read(size)
        for offset, patch in self._patches.items():
            for position, value in enumerate(patch, offset - start):
                if 0 <= position < len(content):
                    content = content[:position] + bytes([value]) + content[position + 1 :]
        return content

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to an offset and return it."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Return the offset of the next byte."""
        return self._file.tell()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
