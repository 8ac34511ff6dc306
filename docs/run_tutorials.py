"""Execute the tutorials in place, so that they hold current outputs: ``python docs/run_tutorials.py [NOTEBOOK...]``."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

TUTORIALS = Path(__file__).parent / "tutorials"


def execute(path: Path) -> Any:
    """Return a notebook with the outputs of its cells.

    Args:
        path: Notebook file; it is not changed.

    Raises:
        nbclient.exceptions.CellExecutionError: A cell raises an error.
    """
    notebook = nbformat.read(path, as_version=4)
    # Without times of execution, so that a second run with the same result changes nothing in the file.
    client = NotebookClient(notebook, timeout=300, kernel_name="python3", record_timing=False)
    client.execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            # Only what a reader wants to see: no progress or warnings, and no plain text beside the view as HTML.
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
            for output in cell.outputs:
                if "text/html" in output.get("data", {}):
                    output["data"] = {"text/html": output["data"]["text/html"]}
    notebook.metadata.pop("widgets", None)
    notebook.metadata["language_info"] = {"name": "python"}
    return notebook


def printed(notebook: Any) -> str:
    """Return all text that a notebook printed, without tags."""
    parts = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            parts.append(output.get("text") or data.get("text/html") or data.get("text/plain") or "")
    return re.sub(r"<[^>]*>", "", "\n".join(parts))


def main() -> None:
    """Execute the notebooks that are named, or all."""
    parser = argparse.ArgumentParser(description="Execute the tutorials in place.")
    parser.add_argument("notebooks", nargs="*", type=Path, default=sorted(TUTORIALS.glob("*.ipynb")))
    for path in parser.parse_args().notebooks:
        nbformat.write(execute(path), path)
        print(path)


if __name__ == "__main__":
    main()
