"""Sizes of files and functions, share of comments and faults of language of a checkout, as JSON.

Usage: ``python benchmarks/style.py [ROOT]`` (default: this checkout), to compare two versions of the project.
"""

from __future__ import annotations

import ast
import importlib.util
import io
import json
import statistics
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[1]
FOLDERS = ("src", "tests", "benchmarks")


def main() -> None:
    """Print the figures."""
    root = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else HERE
    print(
        json.dumps({folder: figures(root / folder) for folder in FOLDERS} | {"language": language(root)}, indent=1)
    )


def figures(folder: Path) -> dict[str, Any]:
    """Return sizes in lines and the share of comment lines of a folder."""
    texts = {path: path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.py"))}
    sizes = {str(path.relative_to(folder.parent)): text.count("\n") for path, text in texts.items()}
    functions = {
        f"{path.relative_to(folder.parent)}:{name}": size
        for path, text in texts.items()
        for name, size in function_sizes(text)
    }
    comments = sum(comment_lines(text) for text in texts.values())
    return {
        "files": len(sizes),
        "lines": sum(sizes.values()),
        "comment_lines": comments,
        "comment_share": round(comments / max(sum(sizes.values()), 1), 4),
        "median_file": statistics.median(sizes.values()),
        "largest_files": largest(sizes),
        "median_function": statistics.median(functions.values()),
        "largest_functions": largest(functions),
    }


def largest(sizes: dict[str, int]) -> dict[str, int]:
    """Return the three largest of some sizes."""
    return dict(sorted(sizes.items(), key=lambda item: -item[1])[:3])


def function_sizes(text: str) -> Iterator[tuple[str, int]]:
    """Yield the name and the lines of each function, without its docstring."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            docstring = first.end_lineno - first.lineno + 1 if ast.get_docstring(node) and first.end_lineno else 0
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1 - docstring


def comment_lines(text: str) -> int:
    """Return the number of lines that hold nothing but a comment."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return sum(token.type == tokenize.COMMENT and token.line.lstrip().startswith("#") for token in tokens)


def language(root: Path) -> dict[str, int]:
    """Return the number of faults of language in all files, by rule and in total, by the rules of this checkout."""
    rules = _language_rules()
    rules.ROOT = root
    rules.PAGES = tuple(page for page in rules.PAGES if (root / page).exists())
    counts = {rule: sum(words.values()) for rule, words in rules.counts().items()}
    return {**counts, "all": sum(counts.values())}


def _language_rules() -> Any:
    spec = importlib.util.spec_from_file_location("language", HERE / "tests" / "contracts" / "test_language.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["language"] = module
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main()
