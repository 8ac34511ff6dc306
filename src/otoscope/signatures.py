"""Constructor arguments read back from an object, so that no class keeps a list of its own options."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Collection, Mapping
from typing import Any, get_type_hints


def constructor_arguments(
    instance: object, skip: Collection[str] = (), attributes: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return the arguments that make an object like this one, read from its attributes of the same names.

    A constructor that hands ``**options`` on to the one of its base class has the arguments of both.

    Args:
        instance: Object that keeps each argument of its constructor as an attribute.
        skip: Names of arguments to leave out.
        attributes: Name of the attribute that holds an argument, where the name of the argument is taken by another
            attribute, such as a method.

    Returns:
        Values by name, the arguments of base classes first; tuples become lists, as in JSON.

    Example:
        >>> class Base:
        ...     def __init__(self, area=0.2):
        ...         self.area = area
        >>> class Method(Base):
        ...     def __init__(self, steps=16, **options):
        ...         super().__init__(**options)
        ...         self.steps = steps
        >>> constructor_arguments(Method(steps=4, area=0.1))
        {'area': 0.1, 'steps': 4}
    """
    # From the class up through its bases, as long as each constructor hands its **options on to the next one.
    names: list[str] = []
    for kind in type(instance).__mro__:
        if "__init__" not in vars(kind):
            continue  # inherits the constructor of the next class
        parameters = list(inspect.signature(vars(kind)["__init__"]).parameters.values())[1:]
        named = [part.name for part in parameters if part.kind not in (part.VAR_POSITIONAL, part.VAR_KEYWORD)]
        names = [name for name in named if name not in names] + names
        if not any(part.kind is part.VAR_KEYWORD for part in parameters):
            break
    attributes = attributes or {}
    values = {name: getattr(instance, attributes.get(name, name)) for name in names if name not in skip}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


@functools.cache
def constructor_hints(cls: type) -> Mapping[str, Any]:
    """Return the type hints of the arguments that a constructor takes, with those it hands on as ``**options``.

    Args:
        cls: Class whose modules import the names of all types when they run.

    Example:
        >>> class Base:
        ...     def __init__(self, area: float = 0.2):
        ...         self.area = area
        >>> class Method(Base):
        ...     def __init__(self, steps: int = 16, **options):
        ...         super().__init__(**options)
        >>> dict(constructor_hints(Method))
        {'steps': <class 'int'>, 'area': <class 'float'>}
    """
    hints: dict[str, Any] = {}
    for kind in cls.__mro__:
        if "__init__" not in vars(kind):
            continue
        function = vars(kind)["__init__"]
        parameters = list(inspect.signature(function).parameters.values())[1:]
        stated = get_type_hints(function)
        named = [part.name for part in parameters if part.kind not in (part.VAR_POSITIONAL, part.VAR_KEYWORD)]
        hints |= {name: stated.get(name, Any) for name in named if name not in hints}
        if not any(part.kind is part.VAR_KEYWORD for part in parameters):
            break
    return hints
