"""Where ImageSpecs hide in a module: at its top level, in collections, in classes, in tasks and pod templates."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeAlias

__all__ = ["IsSpec", "attribute_of", "specs_in", "specs_of_module"]

IsSpec: TypeAlias = Callable[[object], bool]
"""Tells what is looked for."""

# Where tasks of Flyte, ContainerTasks, pod templates (Kubernetes' objects) and node wrappers keep what they run in.
_ATTRIBUTES: Final = (
    *("container_image", "_container_image", "image", "_image", "image_spec"),
    *("pod_template", "pod_spec", "containers", "init_containers"),
    *("task_config", "_task_config", "run_task", "_run_task", "flyte_entity", "_flyte_entity"),
)
_DEPTH: Final = 8
_STEP: Final = re.compile(r"\.?([A-Za-z_]\w*)|\[(\d+)\]|\[(['\"])(.*?)\3\]")


def specs_of_module(module: Any, is_spec: IsSpec) -> Iterator[tuple[str, object]]:
    """Yield each spec of a module once, with the path it was found by: ``images['gpu']``, ``train.container_image``."""
    seen: set[int] = set()
    named = [(name, value) for name, value in vars(module).items() if not name.startswith("__")]
    # A spec's own name is the best one it can be found by: it goes before what holds the spec.
    for name, value in sorted(named, key=lambda pair: not is_spec(pair[1])):
        if isinstance(value, type) and value.__module__ != module.__name__:
            continue
        yield from _walk(name, value, is_spec, seen, 0)


def specs_in(path: str, value: object, is_spec: IsSpec) -> Iterator[tuple[str, object]]:
    """Yield each spec in ``value`` once, with its path, which begins with ``path``."""
    yield from _walk(path, value, is_spec, set(), 0)


def attribute_of(module: object, path: str) -> object:
    """Return what a path such as ``images['gpu']`` leads to; raise LookupError or AttributeError when there is none."""
    value: Any = module
    position = 0
    while position < len(path):
        step = _STEP.match(path, position)
        if step is None:
            raise LookupError(path)
        name, index, _, key = step.groups()
        value = getattr(value, name) if name else value[int(index)] if index else _item(value, key)
        position = step.end()
    return value


def _item(value: Any, key: str) -> object:
    """Return the item under a key, which was written as text whatever its type is."""
    return value[next((known for known in value if str(known) == key), key)]


def _walk(path: str, value: object, is_spec: IsSpec, seen: set[int], depth: int) -> Iterator[tuple[str, object]]:
    if depth > _DEPTH or value is None or isinstance(value, (str, bytes, int, float)) or id(value) in seen:
        return
    seen.add(id(value))
    if is_spec(value):
        yield path, value
        return
    for inner_path, inner in _inside(path, value):
        yield from _walk(inner_path, inner, is_spec, seen, depth + 1)


def _inside(path: str, value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping):
        yield from ((f"{path}[{str(key)!r}]", item) for key, item in value.items())
    elif isinstance(value, (list, tuple)):
        yield from ((f"{path}[{index}]", item) for index, item in enumerate(value))
    elif isinstance(value, (set, frozenset)):
        yield from ((f"{path}[{index}]", item) for index, item in enumerate(sorted(value, key=repr)))
    elif isinstance(value, type):
        yield from ((f"{path}.{name}", item) for name, item in vars(value).items() if not name.startswith("__"))
    elif not _is_foreign(value):
        for name in _ATTRIBUTES:
            yield f"{path}.{name}", _attribute(value, name)


def _is_foreign(value: object) -> bool:
    """Return whether attributes of such a value are computed or endless: modules, functions, data frames."""
    return type(value).__module__.partition(".")[0] in ("builtins", "types", "numpy", "pandas", "torch", "unittest")


def _attribute(value: object, name: str) -> object:
    try:
        return getattr(value, name, None)
    except Exception:  # a property of the user's object may do anything
        return None
