"""The class that a model folder names: one of otoscope by its kind, or one that the user has imported."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from otoscope.errors import CheckpointError
from otoscope.store.kinds import class_path_of
from otoscope.store.model import WITH_ARTICLE, StoredModel


def find_class(config: Mapping[str, Any], folder: Path) -> type[StoredModel]:
    """Return the class that a configuration names: one of otoscope, or a user's that is imported already.

    Args:
        config: Configuration of a model folder.
        folder: The folder, for messages.

    Raises:
        CheckpointError: There is no such class, it is not imported, or it has another role than the configuration.
    """
    name = str(config.get("class", ""))
    shown = repr(name[:100])
    path = class_path_of(name)
    module_name, _, class_name = (path or name).rpartition(".")
    # Importing a module runs its code, so only those of the table of kinds are imported on behalf of a folder.
    if path is not None:
        module: Any = importlib.import_module(module_name)
    elif not module_name or module_name.split(".")[0] == "otoscope":
        raise CheckpointError(f"{folder}: this version of otoscope has no class {shown}; update otoscope")
    elif module_name in sys.modules:
        module = sys.modules[module_name]
    else:
        raise CheckpointError(
            f"{folder}: its class {name[:100]} is not part of otoscope; if you trust it, import "
            f"{module_name[:100]} before loading, on the command line by --import"
        )
    # Looked up among the names that the module has: `getattr` would run the module's own `__getattr__`, which may
    # import others. The name may be that of anything, so it is checked before it is called.
    kind = getattr(module, "__dict__", {}).get(class_name)
    role = config.get("kind")
    if not (isinstance(kind, type) and issubclass(kind, StoredModel) and getattr(kind, "role", None) == role):
        expected = (
            WITH_ARTICLE.get(role, f"of kind {str(role)[:40]!r}") if isinstance(role, str) else f"of kind {role!r}"
        )
        raise CheckpointError(f"{folder}: {name[:100]} is not {expected[:100]}")
    return kind
