"""Code, tests and documents are written in plain technical English.

``python tests/contracts/test_language.py`` prints how many faults each file has.
"""

import ast
import collections
import doctest
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("src", "tests", "benchmarks", "recipes", "examples", "docs")
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "Makefile",
    "pyproject.toml",
    "mkdocs.yml",
    "mkdocs_hooks.py",
    "mkdocs_notebooks.py",
)

# Names that do not say what they hold, with better ones.
NAMES = {
    "found": "mask, path, maximum, ...: what was searched",
    "one": "clip, row, first, ...",
    "own": "self_scores, native_rate, ...: whose it is",
    "what": "spec, request, ...",
    "kept": "evidence, selected, ...",
    "left": "remainder, remaining, ...",
    "told": "reported, messages, ...",
    "known": "labelled, recorded, ...",
}

# Words and phrases that make readers stumble, with what to say instead. Matched as whole words in any case.
PHRASES = {
    "house": "package, project, or the name of the module",
    "mend": "fix",
    "mends": "fixes",
    "mended": "fixed",
    "mending": "fixing",
    "dear": "expensive",
    "stranger": "untrusted class, unknown class",
    "strangers": "untrusted classes, unknown classes",
    "culprit": "the recording, file, ... that fails",
    "culprits": "the recordings, files, ... that fail",
    "goes on": "resumes, continues",
    "passes over": "skips",
    "told": "reported, distinguished",
    "tells": "reports, distinguishes",
    "says of": "reports about",
    "as it comes": "unchanged, with its defaults",
    "so many": "the number: 'the given number of', 'n'",
    ", of which": "begin a new sentence or use 'whose'",
    "by which": "begin a new sentence or use 'with'",
    "lest": "so that ... not",
    "whoever": "name the person or thing",
}

# Documents outside the repository, which readers do not have. Matched in capitals only.
REFERENCES = {"METHODS,": "cite the paper or our page", "DESIGN": "state the rule itself"}

# The description of an argument begins with the thing: "name: Name of the recording", not "name: Of the recording".
FRAGMENTS = ("Of ", "In which", "By which", "As ")

_PHRASE = re.compile(r"\b(" + "|".join(phrase.replace(" ", r"\s+") for phrase in PHRASES) + r")\b", re.IGNORECASE)
_REFERENCE = re.compile("|".join(rf"\b{re.escape(name)}" for name in REFERENCES))
_ARGUMENT = re.compile(r"^\s*\*{0,2}\w+(?: \([^)]*\))?: (?P<text>.*)$")


class Fault(NamedTuple):
    """A place that breaks a rule."""

    rule: str
    line: int
    text: str


def files() -> list[Path]:
    """Return the files whose language is checked, except this one, which has to name the words."""
    in_folders = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*")]
    paths = [path for path in in_folders if path.suffix in {".py", ".md", ".yaml"} and "golden" not in path.parts]
    return sorted({*paths, *(ROOT / page for page in PAGES if (ROOT / page).exists())} - {Path(__file__).resolve()})


def faults(path: Path) -> list[Fault]:
    """Return the places in a file that break a rule."""
    text = path.read_text(encoding="utf-8")
    places = []
    for first_line, prose in _prose(text) if path.suffix == ".py" else [(1, text)]:
        places += _phrases(prose, first_line)
    if path.suffix == ".py":
        tree = ast.parse(text)
        places += [*_names(tree), *_fragments(tree), *_hyphens(tree)]
    if path.suffix in {".py", ".md"}:
        places += _names_in_examples(text)
    return places


def _prose(source: str) -> Iterator[tuple[int, str]]:
    """Yield the strings and comments of a program, each with its first line."""
    kinds = {tokenize.STRING, tokenize.COMMENT, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in kinds:
            yield token.start[0], token.string


def _phrases(text: str, first_line: int) -> Iterator[Fault]:
    for match in _PHRASE.finditer(text):
        yield Fault("phrase", first_line + text.count("\n", 0, match.start()), " ".join(match[0].split()).lower())
    for match in _REFERENCE.finditer(text):
        yield Fault("reference", first_line + text.count("\n", 0, match.start()), match[0])


def _names(tree: ast.AST, first_line: int = 0) -> Iterator[Fault]:
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name) | ast.Attribute(attr=name, ctx=ast.Store()):
                pass
            case (
                ast.FunctionDef(name=name)
                | ast.ClassDef(name=name)
                | ast.MatchAs(name=name)
                | ast.MatchStar(name=name)
            ):
                pass
            case ast.ExceptHandler(name=name) | ast.alias(asname=name):
                pass
            case _:
                continue
        if name in NAMES:
            yield Fault("name", first_line + node.lineno, name)


def _names_in_examples(text: str) -> Iterator[Fault]:
    try:
        examples = doctest.DocTestParser().get_examples(text)
    except ValueError:  # text that only looks like an example
        return
    for example in examples:
        yield from _names(ast.parse(example.source), example.lineno)


def _fragments(tree: ast.AST) -> Iterator[Fault]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        section = re.search(r"^Args:\n((?:[ \t]+.*\n?|\n)*)", ast.get_docstring(node) or "", re.MULTILINE)
        for line in section[1].splitlines() if section else ():
            match = _ARGUMENT.match(line)
            if match and match["text"].startswith(FRAGMENTS):
                yield Fault("fragment", getattr(node, "lineno", 1), line.strip())


def _hyphens(tree: ast.AST) -> Iterator[Fault]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "add_argument":
            for argument in node.args:
                if isinstance(argument, ast.Constant) and "-" in str(argument.value).lstrip("-"):
                    yield Fault("hyphen", node.lineno, str(argument.value))


def counts() -> dict[str, dict[str, int]]:
    """Return how often each name, phrase and other fault occurs, by rule."""
    table: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for path in files():
        for fault in faults(path):
            table[fault.rule]["Args" if fault.rule == "fragment" else fault.text] += 1
    return {rule: dict(counter.most_common()) for rule, counter in table.items()}


def main() -> int:
    """Print the number of faults of each file and of each kind; with file names as arguments, their places."""
    for path in map(Path, sys.argv[1:]):
        for fault in sorted(faults(path.resolve()), key=lambda fault: fault.line):
            print(f"{path}:{fault.line}: {fault.rule}: {fault.text}")
    if len(sys.argv) == 1:
        numbers = {path: collections.Counter(fault.rule for fault in faults(path)) for path in files()}
        for path, counter in sorted(numbers.items(), key=lambda item: -item[1].total()):
            if counter:
                rules = ", ".join(f"{number} {rule}" for rule, number in counter.most_common())
                print(f"{counter.total():5}  {path.relative_to(ROOT)}: {rules}")
        for rule, words in counts().items():
            print(f"{rule} {sum(words.values())}: {words if rule != 'fragment' else ''}")
    return 0


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_language_is_plain(path):
    places = [f"{path.relative_to(ROOT)}:{fault.line}: {fault.rule} {fault.text!r}" for fault in faults(path)]
    assert not places, "\n".join(places)


def test_faults_are_detected(tmp_path):
    path = tmp_path / "bad.py"
    lines = [
        '"""Mends the',
        'house, see METHODS, 2."""',
        "def f(own):",
        '    """Do.\n\n    Args:\n        own: Of the clip.\n    """',
        "    told = [one for one in own]",
        '    parser.add_argument("-o", "--skip-existing")',
    ]
    path.write_text("\n".join(lines))
    assert sorted((fault.line, fault.rule) for fault in faults(path)) == [
        (1, "phrase"),
        (2, "phrase"),
        (2, "reference"),
        (3, "fragment"),
        (3, "name"),
        (9, "name"),
        (9, "name"),
        (10, "hyphen"),
    ]


if __name__ == "__main__":
    sys.exit(main())
