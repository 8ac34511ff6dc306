"""No file of the package imports itself by way of others, imports inside functions included."""

import ast
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src"


def module_name(path):
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(node: ast.AST) -> Iterator[str]:
    """Yield the dotted names that a piece of code imports, except for type checking."""
    match node:
        case ast.If(test=ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING"), orelse=orelse):
            children = orelse
        case ast.Import(names=names):
            yield from (alias.name for alias in names)
            return
        case ast.ImportFrom(module=module, names=names, level=0):
            yield from (f"{module}.{alias.name}" for alias in names)
            return
        case ast.ImportFrom():
            raise AssertionError(f"line {node.lineno}: write the full name of the module")
        case _:
            children = ast.iter_child_nodes(node)
    for child in children:
        yield from imported(child)


def import_graph() -> dict[str, set[str]]:
    """Return the modules of the package that each module imports; importing a name counts for its module."""
    paths = {module_name(path): path for path in SOURCE.rglob("*.py")}
    graph = {}
    for module, path in paths.items():
        names = imported(ast.parse(path.read_text(encoding="utf-8")))
        targets = {name if name in paths else name.rpartition(".")[0] for name in names}
        graph[module] = targets & paths.keys()
    return graph


def reachable(graph, start):
    seen, stack = set(), [start]
    while stack:
        for target in graph[stack.pop()] - seen:
            seen.add(target)
            stack.append(target)
    return seen


def circles(graph) -> set[tuple[str, ...]]:
    """Return the groups of modules that import each other, directly or by way of others."""
    reach = {module: reachable(graph, module) for module in graph}
    return {
        tuple(sorted(other for other in reach[module] if module in reach[other]))
        for module in graph
        if module in reach[module]
    }


def test_no_import_circles():
    groups = circles(import_graph())
    assert not groups, "\n".join(" <-> ".join(group) for group in sorted(groups))


def test_circles_are_detected():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}, "e": {"e"}}
    assert circles(graph) == {("a", "b", "c"), ("e",)}


def test_type_checking_does_not_count():
    code = "if TYPE_CHECKING:\n    import a\nelse:\n    import b\ndef f():\n    from c import d"
    assert list(imported(ast.parse(code))) == ["b", "c.d"]


def test_graph_holds_the_package():
    graph = import_graph()
    assert "otoscope.errors" in graph
    assert sum(len(targets) for targets in graph.values()) > 100
