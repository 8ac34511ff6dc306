"""Record of a run: ``hyperparams.yaml`` in its folder, which a resumed or tested run must agree with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from otoscope.cli.options import import_modules, parse
from otoscope.cli.paths import absolute, is_path_option, map_paths, path_options, paths_of
from otoscope.errors import ConfigurationError
from otoscope.files.atomic import replace_text

if TYPE_CHECKING:
    import jsonargparse

RECORD_NAME = "hyperparams.yaml"
LAST_CHECKPOINT = Path("checkpoints") / "last.ckpt"
"""Checkpoint in the folder of a run that it resumes from."""
_MAY_CHANGE = ("data_folder", "num_workers", "cache_folder", "cache_representations", "download")
"""Options that may differ when a run resumes: they do not change its results."""


def record_options(options: Any, parser: jsonargparse.ArgumentParser, folder: Path) -> None:
    """Write the record; refuse to resume a run that was started with other options.

    Raises:
        ConfigurationError: The folder holds a run with other options; the message names them.
    """
    path = folder / RECORD_NAME
    content = _content(options, parser)
    # Without a checkpoint there is nothing to resume, and the record is that of a failed start.
    resumes = path.is_file() and (folder / LAST_CHECKPOINT).is_file()
    if resumes and (changed := _changed_options(read_record(path), content)):
        raise ConfigurationError(
            f"{folder}: holds a run with other options ({'; '.join(changed[:5])}); choose another "
            "--output_folder to start a new run, or give the same options to resume this one"
        )
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    replace_text(path, text, remedy="free some space or choose another --output_folder")


def recorded_options(
    parser: jsonargparse.ArgumentParser, options: Any, folder: Path, overrides: Sequence[str]
) -> Any:
    """Return the options of a run that is tested: those of its record, and beside them the overrides.

    Args:
        parser: Parser of the verb.
        options: Options of the hyperparameter file and the overrides.
        folder: Folder of the run.
        overrides: Command line without the hyperparameter file.

    Returns:
        The options; None if the folder has no record.

    Raises:
        ConfigurationError: An override contradicts the record; the message names it.
    """
    path = folder / RECORD_NAME
    if not path.is_file():
        return None
    record = read_record(path)
    import_modules(record.get("import") or [])
    # The record has absolute paths; the file spells the same paths as the user knows them.
    recorded = dict(path_options(record))
    spelt = [
        f"--{name}={value if isinstance(value, str) else json.dumps(value)}"
        for name, value in path_options(yaml.safe_load(parser.dump(options, skip_validation=True)))
        if name in recorded and map_paths(value, absolute) == recorded[name]
    ]
    options = parse(parser, ["--config", str(path), *spelt, *overrides])
    if changed := _changed_options(record, _content(options, parser)):
        raise ConfigurationError(
            f"--test_only: contradicts the options of the run in {folder} ({'; '.join(changed[:5])}); leave out "
            "the override, or choose another --output_folder"
        )
    return options


def read_record(path: Path) -> dict[str, Any]:
    """Return the content of a record.

    Raises:
        ConfigurationError: It cannot be read.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigurationError(f"{path}: cannot be read ({error}); choose another --output_folder") from error
    return content if isinstance(content, dict) else {}


def _content(options: Any, parser: jsonargparse.ArgumentParser) -> dict[str, Any]:
    """Return the options as plain values, with absolute paths, so that they hold from any folder."""
    content: dict[str, Any] = yaml.safe_load(parser.dump(options, skip_validation=True))
    for name, value in list(path_options(content)):
        *parents, last = name.split(".")
        place = content
        for part in parents:
            place = place[part]
        place[last] = map_paths(value, absolute)
    return content


def _changed_options(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Describe the options of model and data that differ between two records."""
    # Options of the trainer may differ: more epochs are a common reason to resume.
    former, present = _flat(before), _flat(now)
    return [
        f"{name} was {former.get(name)}, is {present.get(name)}"
        for name in sorted(former.keys() | present.keys())
        if former.get(name) != present.get(name)
        and name.startswith(("model.", "data."))
        and not name.endswith(_MAY_CHANGE)
        and not _is_same_place(name, former.get(name), present.get(name))
    ]


def _is_same_place(name: str, former: Any, present: Any) -> bool:
    """Return whether an option that differs may still lead to the same model.

    That is so if the former paths no longer exist, so that only the new ones can be right, and if one of the former
    candidates is named now. Checkpoints themselves know which classifier they belong to.
    """
    if not is_path_option(name) or not isinstance(former, str | list) or not isinstance(present, str | list):
        return False
    paths = [Path(path) for path in paths_of(former) if Path(path).is_absolute()]
    is_gone = bool(paths) and not any(path.exists() for path in paths)
    return is_gone or bool(set(paths_of(former)) & set(paths_of(present)))


def _flat(content: Any, prefix: str = "") -> dict[str, Any]:
    """Flatten nested mappings to one with dotted names."""
    if not isinstance(content, Mapping):
        return {prefix: content}
    result: dict[str, Any] = {}
    for name, value in content.items():
        result |= _flat(value, f"{prefix}.{name}" if prefix else str(name))
    return result
