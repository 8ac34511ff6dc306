"""Hooks of the documentation site: pages from outside ``docs/``, the API reference, and the links between them.

Links in our Markdown files are relative to the file, so that they work on the repository's pages. The site has the
same files under other paths; `on_page_markdown` rewrites the links accordingly.
"""

import ast
import logging
import posixpath
import re
import tomllib
from pathlib import Path

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

logger = logging.getLogger("mkdocs.plugins.otoscope")

# Files outside docs/ that the site shows: path in the repository -> path in the site.
PAGES = {
    "README.md": "overview.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "recipes/ESC50/README.md": "recipes.md",
    "benchmarks/README.md": "benchmarks.md",
}
_LINK = re.compile(r"(\]\()([^)\s#]*)((?:#[^)\s]*)?\))")
_FENCE = re.compile(r"(^```.*?^```)", re.MULTILINE | re.DOTALL)
_EXTERNAL_ASSET = re.compile(r"<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=[\"']?(?:https?:)?//[^>]*>")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages of the API reference into the navigation, where it says ``API: api/``."""
    packages = public_packages(Path(config.config_file_path).parent / "src" / "otoscope")
    for section in config.nav or []:
        if section.get("API") == "api/":
            section["API"] = ["api/index.md", *({name: f"api/{name}.md"} for name in packages)]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages from outside ``docs/`` and one page of the API reference for each public package."""
    root = Path(config.config_file_path).parent
    for source, target in PAGES.items():
        files.append(File.generated(config, target, abs_src_path=str(root / source)))
    packages = public_packages(root / "src" / "otoscope")
    for name in packages:
        files.append(File.generated(config, f"api/{name}.md", content=f"# `{name}`\n\n::: {name}\n"))
    rows = "\n".join(f"| [`{name}`]({name}.md) | {summary} |" for name, summary in packages.items())
    files.append(File.generated(config, "api/index.md", content=f"# API reference\n\n| | |\n|---|---|\n{rows}\n"))
    return files


def public_packages(source: Path) -> dict[str, str]:
    """Return the summary of each package whose ``__init__.py`` has an ``__all__``, by its dotted name."""
    packages = {}
    for path in sorted(source.rglob("__init__.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {
            target.id
            for node in tree.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        if "__all__" in names:
            name = ".".join(path.parent.relative_to(source.parent).parts)
            packages[name] = (ast.get_docstring(tree) or "").partition("\n\n")[0].replace("\n", " ")
    return packages


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite the links of a page, which are relative to its file in the repository."""
    root = Path(config.config_file_path).parent
    page_path = page.file.src_uri
    source = {target: path for path, target in PAGES.items()}.get(page_path, f"docs/{page_path}")

    def rewrite(match: re.Match[str]) -> str:
        return match[1] + site_link(match[2], source, page_path, root) + match[3]

    # Code between fences is left alone: an index followed by a call looks like a link.
    parts = _FENCE.split(markdown)
    return "".join(part if part.startswith("```") else _LINK.sub(rewrite, part) for part in parts)


def site_link(link: str, source: str, page: str, root: Path) -> str:
    """Return the link to use in the site.

    Args:
        link: Link without its anchor, relative to ``source``.
        source: Path in the repository of the file that contains the link.
        page: Path in the site of the page made from that file.
        root: Folder of the repository.
    """
    if not link or ":" in link or page.startswith("api/"):
        return link
    target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
    if target in PAGES:
        return posixpath.relpath(PAGES[target], posixpath.dirname(page))
    if target.startswith("docs/tutorials/"):  # mkdocs_notebooks makes a page of each notebook
        target = target.replace(".ipynb", ".md")
    if target.startswith("docs/"):
        return posixpath.relpath(target.removeprefix("docs/"), posixpath.dirname(page))
    if (root / target).exists():  # not part of the site: its place in the repository
        return f"{repository_url(root)}/tree/main/{target}"
    return link  # MkDocs reports it as broken


def repository_url(root: Path) -> str:
    """Return the address of the repository, as the package's metadata give it."""
    url: str = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Repository"]
    return url


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Warn of scripts, styles and pictures from other servers; with ``--strict`` the build then fails."""
    for asset in _EXTERNAL_ASSET.findall(output):
        logger.warning("%s loads from another server: %s", page.file.src_uri, asset)
    return output


class ExampleSections(griffe.Extension):
    """Griffe extension that shows sections ``Example:`` as code; Griffe itself knows only ``Examples:``."""

    def on_object(self, *, obj: griffe.Object, **_: object) -> None:
        """Rename the section in the docstring of a module, class, function or attribute."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)
