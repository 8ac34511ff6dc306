"""Shards: Parquet files with one explanation per row, its sounds and its mask inside.

A row holds the content of ``explanation.json`` as text, sounds as FLAC of 24 bits, and the mask as the content of
``mask.npz``. The columns are those of `COLUMNS`; a part that was not kept is null. Sounds are divided by the column
``gain``, a power of two, so that sounds beyond full scale fit and quiet ones keep their precision.
"""

from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile
import torch
from torch import Tensor

from otoscope.errors import DataError, MissingExtraError, choices, first_line
from otoscope.explanation.arrays import importance_arrays, mask_arrays, packed, unpacked
from otoscope.explanation.parts import SHARD_PARTS
from otoscope.explanation.stored import SOUNDS, StoredExplanation
from otoscope.files.json import json_text
from otoscope.plots import FrequencyAxis
from otoscope.plots.files import picture_bytes

if TYPE_CHECKING:
    from otoscope.explanation.result import Explanation

SHARD_PATTERN = "shard-*.parquet"
COLUMNS = {
    **{"name": "string", "file": "string", "label": "string", "predicted": "string", "probability": "float64"},
    **{"verdict": "string", "duration_s": "float64", "sample_rate_hz": "int32", "record": "string"},
    **{"gain": "float64", "recording": "binary", "evidence": "binary", "remainder": "binary"},
    **{"mask": "binary", "importance": "binary", "picture": "binary", "picture_format": "string"},
}
"""Types of the columns of a shard, by name."""
_COLUMN_OF = {"json": "record"}
_FULL_SCALE = 1 << 23
_ROWS_IN_GROUP = 16
_VERSION = "1"


def to_row(
    explanation: Explanation,
    content: dict[str, Any],
    parts: Collection[str],
    axis: FrequencyAxis = "linear",
    picture: str = "png",
) -> dict[str, Any]:
    """Return an explanation as the row of a shard.

    Args:
        explanation: Explanation.
        content: Content of ``explanation.json``.
        parts: Parts that are kept, some of `SHARD_PARTS`.
        axis: Scale of the picture's frequency axis.
        picture: Format of the picture, ``png`` or ``svg``.
    """
    waveforms = {
        "recording": explanation.original,
        "evidence": explanation.evidence,
        "remainder": explanation.remainder,
    }
    row: dict[str, Any] = dict.fromkeys(COLUMNS)
    row |= {name: content[name] for name in ("name", "label", "predicted", "duration_s", "sample_rate_hz")}
    row["probability"] = explanation.probabilities[explanation.label]
    row["verdict"] = None if explanation.verdict is None else explanation.verdict.level
    row["file"] = content.get("source", {}).get("recording", {}).get("path", "")
    row["record"] = json_text(content)
    peak = max(float(waveform.abs().max()) for waveform in waveforms.values())
    # frexp gives peak = m * 2 ** e with m in [0.5, 1), so that nothing reaches full scale.
    row["gain"] = 2.0 ** math.frexp(peak)[1] if peak > 0 else 1.0
    for part in SOUNDS:
        if part in parts:
            row[part] = _flac(waveforms[part], row["gain"], explanation.sample_rate_hz)
    if "mask" in parts:
        row["mask"] = packed(mask_arrays(explanation))
    if "importance" in parts:
        row["importance"] = packed(importance_arrays(explanation))
    if "picture" in parts:
        row |= {"picture": picture_bytes(explanation.plot(axis), picture), "picture_format": picture}
    return {name: _text(value) for name, value in row.items()}


class ShardRow(StoredExplanation):
    """Explanation in a row of a shard.

    Args:
        path: Shard.
        row: Values by name of the column.

    Raises:
        DataError: The row holds no record, or it is damaged.
    """

    def __init__(self, path: Path, row: Mapping[str, Any]) -> None:
        place = f"{path}, row {row.get('name')!r}"
        try:
            content = json.loads(row["record"])
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(f"{place}: its record is damaged ({first_line(error)})") from error
        super().__init__(place, content)
        self.path = path
        self.row = row

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts that are not null."""
        return tuple(part for part in SHARD_PARTS if self.row.get(_COLUMN_OF.get(part, part)) is not None)

    def sound(self, part: str) -> Tensor:
        """Return a sound; see `StoredExplanation.sound`."""
        try:
            integers, _ = soundfile.read(io.BytesIO(self.content_of(part)), dtype="int32")
        except soundfile.LibsndfileError as error:
            raise DataError(f"{self.place}: its {part} is damaged ({first_line(error)})") from error
        # libsndfile puts the 24 bits into the upper part of 32.
        samples = (integers >> 8) / _FULL_SCALE * self.row["gain"]
        return torch.from_numpy(samples.astype(np.float32))

    def arrays(self, part: str) -> dict[str, np.ndarray]:
        """Return arrays; see `StoredExplanation.arrays`."""
        return unpacked(self.content_of(part), self.place)

    def content_of(self, part: str) -> bytes:
        """Return the bytes of a part: a FLAC file, an npz file or a picture.

        Raises:
            MissingPartError: The part was not kept.
        """
        value = self.row.get(part)
        if value is None:
            raise self.missing(part)
        return bytes(value)


def shards_of(folder: str | os.PathLike[str]) -> list[Path]:
    """Return the shards in a folder, in the order in which they were written."""
    return sorted(Path(folder).glob(SHARD_PATTERN))


def read_row(path: str | os.PathLike[str], name: str) -> ShardRow:
    """Return one row of a shard, or of the shards in a folder.

    Args:
        path: Shard, or a folder of shards.
        name: Name of the recording in the results.

    Raises:
        DataError: There is no such row, or the shard is damaged.
        MissingExtraError: pyarrow is not installed.
    """
    path, names = Path(path), []
    for shard in shards_of(path) if path.is_dir() else [path]:
        file = _opened(shard)
        for group in range(file.num_row_groups):
            # The narrow column first: the others are large.
            present = [row["name"] for row in _rows(file, shard, group, ["name"])]
            if name in present:
                return ShardRow(shard, _rows(file, shard, group)[present.index(name)])
            names += present
    raise DataError(f"{path}: holds no row {name!r}; {choices(name, names) if names else 'it holds no row'}")


def iterate_rows(path: Path, columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """Yield the rows of a shard as values by name, a few in memory at a time.

    Args:
        path: Shard.
        columns: Names of the columns (default: all).

    Raises:
        DataError: The shard is damaged.
        MissingExtraError: pyarrow is not installed.
    """
    file = _opened(path)
    for group in range(file.num_row_groups):
        yield from _rows(file, path, group, columns)


def iterate_shard(path: str | os.PathLike[str]) -> Iterator[ShardRow]:
    """Yield the explanations of a shard; see `iterate_rows`."""
    path = Path(path)
    for row in iterate_rows(path):
        yield ShardRow(path, row)


def shard_schema() -> Any:
    """Return the schema of shards, for pyarrow.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    pyarrow = require_pyarrow()
    fields = [(name, getattr(pyarrow, kind)()) for name, kind in COLUMNS.items()]
    return pyarrow.schema(fields, metadata={"otoscope.shard": _VERSION})


def write_shard(rows: Collection[Mapping[str, Any]], path: Path) -> None:
    """Write a shard. The caller moves it into place.

    Args:
        rows: Rows, see `to_row`.
        path: File.
    """
    require_pyarrow()
    import pyarrow
    import pyarrow.parquet as parquet

    table = pyarrow.Table.from_pylist(list(rows), schema=shard_schema())
    # Sounds, masks and pictures are compressed already.
    compression = {name: "zstd" if kind != "binary" else "none" for name, kind in COLUMNS.items()}
    parquet.write_table(
        table,
        path,
        row_group_size=_ROWS_IN_GROUP,
        compression=compression,
        use_dictionary=["label", "predicted", "verdict", "picture_format"],
        write_statistics=["name", "file", "label", "probability", "duration_s"],
    )


def require_pyarrow() -> ModuleType:
    """Return pyarrow.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import pyarrow
    except ImportError as error:
        raise MissingExtraError("shards need pyarrow; install it with pip install 'otoscope[tables]'") from error
    return pyarrow  # type: ignore[no-any-return]


def _opened(path: Path) -> Any:
    pyarrow = require_pyarrow()
    import pyarrow.parquet as parquet

    try:
        file = parquet.ParquetFile(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{path}: cannot be read as a shard ({first_line(error)})") from error
    missing = [name for name in ("name", "record") if name not in file.schema_arrow.names]
    if missing:
        raise DataError(f"{path}: is no shard of explanations; it has no column {', '.join(missing)}")
    return file


def _rows(file: Any, path: Path, group: int, columns: list[str] | None = None) -> list[dict[str, Any]]:
    """Return the rows of a group of a shard."""
    try:
        rows: list[dict[str, Any]] = file.read_row_group(group, columns=columns).to_pylist()
    except (OSError, require_pyarrow().ArrowException) as error:
        raise DataError(f"{path}: cannot be read as a shard ({first_line(error)})") from error
    return rows


def _flac(waveform: Tensor, gain: float, sample_rate_hz: int) -> bytes:
    # Not as floats, which libsndfile multiplies by 2 ** 23 - 1: integers of up to 24 bits stay what they are.
    samples = np.rint(waveform.numpy().astype(np.float64) / gain * _FULL_SCALE)
    integers = samples.clip(-_FULL_SCALE, _FULL_SCALE - 1).astype(np.int32) << 8
    buffer = io.BytesIO()
    soundfile.write(buffer, integers, sample_rate_hz, format="FLAC", subtype="PCM_24")
    return buffer.getvalue()


def _text(value: Any) -> Any:
    """Return a text without bytes that are no text, which columns of Parquet cannot hold."""
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value
