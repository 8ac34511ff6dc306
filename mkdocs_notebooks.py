"""Hook of the documentation site: tutorials, which are notebooks with their outputs, as pages.

The site shows what a notebook holds and runs no Python. Outputs are texts, or HTML whose sounds, pictures and
scripts are part of it, so that no page needs another server.
"""

import json
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for each notebook; the notebook itself remains in the site, for downloading."""
    for notebook in [file for file in files if file.src_uri.endswith(".ipynb")]:
        target = notebook.src_uri.removesuffix(".ipynb") + ".md"
        source = Path(str(notebook.abs_src_path)).read_text(encoding="utf-8")
        files.append(File.generated(config, target, content=notebook_page(json.loads(source))))
    return files


def notebook_page(notebook: dict[str, Any]) -> str:
    """Return the Markdown of a notebook.

    Args:
        notebook: Content of the file, in version 4 of the format.
    """
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
        elif cell["cell_type"] == "code":
            parts.append(f"```python\n{source}\n```")
            parts += [output_markdown(output) for output in cell["outputs"]]
    return "\n\n".join(part for part in parts if part) + "\n"


def output_markdown(output: dict[str, Any]) -> str:
    """Return the Markdown of one output of a cell: HTML if it has it, or else its text."""
    data = output.get("data", {})
    if "text/html" in data:
        # Python-Markdown leaves everything alone up to the end of the block.
        return f'<div class="output">\n{"".join(data["text/html"])}\n</div>'
    text = "".join(output.get("text", data.get("text/plain", ""))).rstrip()
    return f"```text\n{text}\n```" if text else ""
