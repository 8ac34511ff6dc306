"""Random mutations of JSON values, texts and files."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

TEXTS = (
    "", " ", "\x00", "\ud800", "é" * 300, "x" * 100_000, "null", "-1", "1e400", "NaN", "../../etc/passwd",
    "/etc/passwd",
    "$_$", "<script>alert(1)</script>", "a\nb: c\n---", "%s%n", "雨", "🐶", "\u202e", "{}", "[]",
    "{0.__class__}", "nan",
    "float8_e4m3fn", "int8", "complex64", "auto", "published", "light", "data", "uniform", "waveform", "mel",
)  # fmt: skip
NUMBERS = (
    0, -1, 1, 2, 3, 7, 0.5, -0.0, 1e-300, 1e300, 10**6, 10**9, 10**12, 2**31, 2**63, -(2**63), 10**40, 65_536,
    65_537,
    float("nan"), float("inf"), float("-inf"), True, False, 1024, 4096, 100_000,
)  # fmt: skip
CLASSES = (
    "os.system", "builtins.exec", "builtins.eval", "subprocess.run", "otoscope.__main__.main",
    "otoscope.__main__.X",
    "otoscope.load", "otoscope.cli.main.main", "torch.hub.load", "torch.load", "torch.ops.aten.relu",
    "torch.classes.x.y",
    "torture_canary.Canary", "torture_canary", "otoscope", "torch", "transformers.pipeline",
    "transformers.AutoModel",
    "torch.nn.Linear", "torch.nn.Sequential", "torch.nn.Module", "otoscope.store.folder.StoredModel", "piq",
    "conv2d",
    "otoscope.classifiers.base.Classifier", "otoscope.interpreters.base.Interpreter", "pathlib.Path",
    "shutil.rmtree",
    "otoscope.nn.dictionary.NMFDictionary", "transformers.models.auto.modeling_auto.AutoModel", "sys.exit",
    ".", "..", "a.",
    "torch.nn.modules.lazy.LazyModuleMixin", "torch.nn.DataParallel", "torch.jit.load", "pickle.loads",
    "__main__.main",
)  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path to every value inside a JSON value, itself first."""
    yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value[:50]):
            yield from places(inner, (*path, index))


def at(value: Any, path: tuple[Any, ...]) -> Any:
    """Return the value at a path."""
    for key in path:
        value = value[key]
    return value


def odd_value(draw: random.Random, present: Any = None) -> Any:
    """Return a value that is unlikely to be right in the place of another one."""
    kind = draw.randrange(9)
    if kind == 0:
        return None
    if kind == 1:
        return draw.choice(TEXTS)
    if kind == 2 and isinstance(present, int | float) and not isinstance(present, bool):
        return draw.choice(
            (present * 10, present * 1000, -present, present + 1, present / 3, float(present), 10**7)
        )
    if kind <= 3:
        return draw.choice(NUMBERS)
    if kind == 4:
        return draw.choice(
            ({}, [], [[]], [None], {"": None}, {"a": {"a": {"a": []}}}, [0] * draw.choice((1, 20_000)))
        )
    if kind == 5:
        return [copy.deepcopy(present)] * draw.choice((1, 2, 3, 1000))
    if kind == 6:
        return {
            "class_path": draw.choice(CLASSES),
            **draw.choice(({}, {"init_args": {}}, {"init_args": hostile_arguments(draw)})),
        }
    if kind == 7:
        return nested(draw.choice((3, 40, 400)), draw)
    return draw.choice(CLASSES)


def hostile_arguments(draw: random.Random) -> Any:
    """Return arguments for a class or function that should not be called."""
    return draw.choice(
        (
            {"command": "touch canary"},
            {"in_features": 10**9, "out_features": 10**9},
            {"in_features": 2, "out_features": 3},
            {"module": {"class_path": "os.system", "init_args": {"command": "true"}}},
            [1, 2],
            "x",
        )
    )


def nested(depth: int, draw: random.Random) -> Any:
    """Return a value that is nested to a given depth."""
    value: Any = draw.choice((0, "x", None))
    for _ in range(depth):
        value = draw.choice(([value], {"a": value}))
    return value


def mutate(content: Any, draw: random.Random) -> tuple[Any, str]:
    """Return a mutated copy of a JSON value, and what was done to it."""
    content = copy.deepcopy(content)
    path = draw.choice(list(places(content)))
    shown = ".".join(map(str, path)) or "everything"
    if not path:
        return odd_value(draw, content), "everything replaced"
    holder, key = at(content, path[:-1]), path[-1]
    kind = draw.randrange(8)
    if kind == 0:
        del holder[key]
        return content, f"{shown} deleted"
    if kind == 1 and isinstance(holder, dict):
        holder[draw.choice((f"{key}_", str(key).upper(), "", "class_path", "__class__", "self"))] = holder.pop(key)
        return content, f"{shown} renamed"
    if kind == 2 and isinstance(holder, list):
        holder.extend(copy.deepcopy(holder[:1]) * draw.choice((1, 5, 2000)))
        return content, f"{shown} repeated"
    if kind == 3:
        other = draw.choice(list(places(content)))
        holder[key] = copy.deepcopy(at(content, other))
        return content, f"{shown} replaced by {'.'.join(map(str, other))}"
    holder[key] = odd_value(draw, holder[key])
    return content, f"{shown} = {str(holder[key])[:60]!r}"


def as_text(content: Any, draw: random.Random) -> str:
    """Return JSON, sometimes with keys that occur twice."""
    text = json.dumps(content)
    if draw.random() < 0.05 and text.startswith("{") and len(text) > 2:
        text = text[:-1] + ", " + text[1:]
    return text


def damage(data: bytes, draw: random.Random) -> tuple[bytes, str]:
    """Return damaged bytes, and what was done to them."""
    kind = draw.randrange(8)
    if kind == 0:
        return data[: draw.randrange(len(data) + 1)], "truncated"
    if kind == 1:
        return draw.randbytes(draw.choice((0, 1, 8, 500, 5000))), "replaced by random bytes"
    if kind == 2:
        return b"\xef\xbb\xbf" + data, "with a byte order mark"
    if kind == 3:
        return data + draw.randbytes(20), "with bytes at the end"
    if kind == 4:
        depth = draw.choice((10, 1000, 100_000))
        opening, closing = draw.choice(((b"[", b"]"), (b'{"a":', b"}")))
        return opening * depth + b"0" + closing * depth, f"nested {depth} times"
    if kind == 5:
        return data.decode("utf-8", "replace").encode(draw.choice(("utf-16", "utf-32"))), "in another encoding"
    changed = bytearray(data)
    for _ in range(draw.choice((1, 3, 30))):
        if changed:
            changed[draw.randrange(len(changed))] = draw.randrange(256)
    return bytes(changed), "with changed bytes"
