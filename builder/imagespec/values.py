"""Dataclasses that cost next to nothing to define: what the standard decorator makes, made when it is first used.

The standard one compiles six methods for every class and imports ``inspect`` for it: half of the time that a short
command takes to start, since a build defines eighty classes and makes instances of a few. Here the methods are shared
code, and ``__init__`` is compiled for the first instance. ``dataclasses.fields``, ``replace``, ``asdict`` and
``is_dataclass`` take these classes for their own.

Type checkers see the standard library's names; options and defaults that are not used in this package are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, TypeVar

__all__ = ["dataclass", "field", "fields", "is_dataclass", "replace"]

_Object = TypeVar("_Object")
_MISSING: Final[Any] = object()
_NOT_COPIED: Final = ("__dict__", "__weakref__")


class _Field:
    """One field of a class, with the attributes that the standard library's have."""

    __slots__ = ("compare", "default", "default_factory", "kw_only", "name", "repr", "type")

    def __init__(self, default: Any, default_factory: Any, compare: bool, repr_: bool, kw_only: bool | None) -> None:
        self.name = self.type = ""
        self.default = default
        self.default_factory = default_factory
        self.compare = compare
        self.repr = repr_
        self.kw_only = kw_only


def _field(
    *,
    default: Any = _MISSING,
    default_factory: Any = _MISSING,
    compare: bool = True,
    repr: bool = True,  # noqa: A002 - the standard library's name
    kw_only: bool | None = None,
) -> Any:
    """Return how a field is treated, to stand in the place of its default."""
    return _Field(default, default_factory, compare, repr, kw_only)


def _fields(record: Any) -> tuple[_Field, ...]:
    """Return the fields of a class of this module or of an instance, in the order of declaration."""
    found: tuple[_Field, ...] = record.__value_fields__
    return found


def _is_dataclass(record: Any) -> bool:
    """Return whether this is a class of this module, or an instance of one."""
    return hasattr(record, "__value_fields__")


def _replace(record: _Object, /, **changes: Any) -> _Object:
    """Return a new instance with these fields changed, made and checked as any other."""
    for one in _fields(record):
        if one.name not in changes:
            changes[one.name] = getattr(record, one.name)
    return type(record)(**changes)


def _dataclass(
    cls: type | None = None, /, *, frozen: bool = False, slots: bool = False, kw_only: bool = False, order: bool = False
) -> Any:
    """Return the class with the methods that its annotations call for, as ``dataclasses.dataclass`` does."""

    def made(cls: type) -> type:
        own = _own_fields(cls, kw_only)
        inherited = [one for base in reversed(cls.__mro__[1:]) for one in base.__dict__.get("__value_fields__", ())]
        every = {one.name: one for one in (*inherited, *own)}
        if slots:
            cls = _with_slots(cls, own, {one.name for one in inherited})
        _equip(cls, tuple(every.values()), frozen=frozen, slots=slots, order=order)
        return cls

    return made if cls is None else made(cls)


def _own_fields(cls: type, kw_only: bool) -> list[_Field]:
    """Return the fields that the class itself annotates; its attributes become their defaults."""
    found = []
    for name, annotation in cls.__annotations__.items():
        if str(annotation).startswith("ClassVar"):
            continue
        given = cls.__dict__.get(name, _MISSING)
        one = given if isinstance(given, _Field) else _Field(given, _MISSING, True, True, None)
        one.name, one.type = name, annotation
        one.kw_only = kw_only if one.kw_only is None else one.kw_only
        found.append(one)
        if one.default is not _MISSING:
            setattr(cls, name, one.default)
        elif given is not _MISSING:
            delattr(cls, name)
    return found


def _with_slots(cls: type, own: list[_Field], inherited: set[str]) -> type:
    """Return the class anew: slots can only be given when a class is made."""
    names = {one.name for one in own}
    namespace = {name: value for name, value in cls.__dict__.items() if name not in names and name not in _NOT_COPIED}
    namespace["__slots__"] = tuple(one.name for one in own if one.name not in inherited)
    made = type(cls)(cls.__name__, cls.__bases__, namespace)
    made.__qualname__ = cls.__qualname__
    return made


def _equip(cls: type, every: tuple[_Field, ...], *, frozen: bool, slots: bool, order: bool) -> None:
    own = cls.__dict__
    methods = _comparing(_getter([one.name for one in every if one.compare]), order)
    methods["__repr__"] = _representing([one.name for one in every if one.repr])
    if frozen:
        methods.update(__setattr__=_refused_setting, __delattr__=_refused_deletion)
    else:
        methods["__hash__"] = None
    if frozen and slots:
        methods.update(__getstate__=_state, __setstate__=_set_state)
    if own.get("__hash__") is None and "__hash__" in own:  # what Python puts beside an ``__eq__``
        del cls.__hash__
    for name, method in methods.items():
        if name not in own:
            setattr(cls, name, method)
    if "__init__" not in own:
        cls.__init__ = _Init(cls, every, frozen)  # type: ignore[misc]
    attributes = {
        "__match_args__": tuple(one.name for one in every if not one.kw_only),
        "__value_fields__": every,
        "__dataclass_fields__": _Standard("__dataclass_fields__", frozen=frozen, order=order),
        "__dataclass_params__": _Standard("__dataclass_params__", frozen=frozen, order=order),
    }
    for name, value in attributes.items():
        setattr(cls, name, value)


def _getter(names: list[str]) -> Callable[[Any], Any]:
    return attrgetter(*names) if names else lambda _: ()


def _comparing(key: Callable[[Any], Any], order: bool) -> dict[str, Any]:
    def equal(self: Any, other: Any) -> Any:
        return key(self) == key(other) if other.__class__ is self.__class__ else NotImplemented

    def hashed(self: Any) -> int:
        return hash(key(self))

    if not order:
        return {"__eq__": equal, "__hash__": hashed}

    def less(self: Any, other: Any) -> Any:
        return key(self) < key(other) if other.__class__ is self.__class__ else NotImplemented

    def at_most(self: Any, other: Any) -> Any:
        return key(self) <= key(other) if other.__class__ is self.__class__ else NotImplemented

    def more(self: Any, other: Any) -> Any:
        return key(self) > key(other) if other.__class__ is self.__class__ else NotImplemented

    def at_least(self: Any, other: Any) -> Any:
        return key(self) >= key(other) if other.__class__ is self.__class__ else NotImplemented

    return {
        "__eq__": equal,
        "__hash__": hashed,
        "__lt__": less,
        "__le__": at_most,
        "__gt__": more,
        "__ge__": at_least,
    }


def _representing(names: list[str]) -> Callable[[Any], str]:
    def shown(self: Any) -> str:
        parts = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"{self.__class__.__qualname__}({parts})"

    return shown


def _refused_setting(self: Any, name: str, value: Any) -> None:
    from dataclasses import FrozenInstanceError

    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refused_deletion(self: Any, name: str) -> None:
    from dataclasses import FrozenInstanceError

    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _state(self: Any) -> list[Any]:
    return [getattr(self, one.name) for one in _fields(self)]


def _set_state(self: Any, state: list[Any]) -> None:
    for one, value in zip(_fields(self), state, strict=True):
        object.__setattr__(self, one.name, value)


class _Init:
    """The place of an ``__init__`` that was called at most once: most classes have one instance in a process."""

    __slots__ = ("_called", "_cls", "_every", "_frozen")

    def __init__(self, cls: type, every: tuple[_Field, ...], frozen: bool) -> None:
        self._cls = cls
        self._every = every
        self._frozen = frozen
        self._called = False

    def __get__(self, instance: Any, owner: type) -> Any:
        """Return the method: for a first instance one that needs no compiler, else compiled and put in this place."""
        if instance is not None and not self._called:
            self._called = True
            return partial(self._fill, instance)
        return self._compiled(instance, owner)

    def _fill(self, instance: Any, /, *arguments: Any, **keywords: Any) -> None:
        values = _bound(self._every, arguments, keywords)
        if values is None:
            # The real one says what is wrong in Python's own words.
            self._compiled(instance, self._cls)(*arguments, **keywords)
            return
        for name, value in values.items():
            object.__setattr__(instance, name, value)
        if hasattr(self._cls, "__post_init__"):
            instance.__post_init__()

    def _compiled(self, instance: Any, owner: type) -> Any:
        function = _init(self._cls, self._every, self._frozen)
        self._cls.__init__ = function  # type: ignore[misc]
        return function.__get__(instance, owner)


def _bound(every: tuple[_Field, ...], arguments: tuple[Any, ...], keywords: dict[str, Any]) -> dict[str, Any] | None:
    """Return the value of every field; None when the arguments do not fit."""
    positional = [one.name for one in every if not one.kw_only]
    given = dict(zip(positional, arguments, strict=False))
    if len(arguments) > len(positional) or given.keys() & keywords.keys():
        return None
    given.update(keywords)
    if not given.keys() <= {one.name for one in every}:
        return None
    values = {}
    for one in every:
        if one.name in given:
            values[one.name] = given[one.name]
        elif one.default_factory is not _MISSING:
            values[one.name] = one.default_factory()
        elif one.default is not _MISSING:
            values[one.name] = one.default
        else:
            return None
    return values


def _init(cls: type, every: tuple[_Field, ...], frozen: bool) -> Any:
    scope: dict[str, Any] = {"_set": object.__setattr__, "_missing": _MISSING}
    positional: list[str] = []
    keywords: list[str] = []
    body: list[str] = []
    for one in every:
        name, value = one.name, one.name
        parameter = name
        if one.default_factory is not _MISSING:
            scope[f"_new_{name}"] = one.default_factory
            parameter, value = f"{name}=_missing", f"_new_{name}() if {name} is _missing else {name}"
        elif one.default is not _MISSING:
            scope[f"_default_{name}"] = one.default
            parameter = f"{name}=_default_{name}"
        (keywords if one.kw_only else positional).append(parameter)
        body.append(f"_set(self, {name!r}, {value})" if frozen else f"self.{name} = {value}")
    if hasattr(cls, "__post_init__"):
        body.append("self.__post_init__()")
    parameters = ", ".join(["self", *positional, *(["*", *keywords] if keywords else [])])
    text = f"def __init__({parameters}):\n " + "\n ".join(body or ["pass"])
    exec(text, scope)
    made = scope["__init__"]
    made.__module__, made.__qualname__ = cls.__module__, f"{cls.__qualname__}.__init__"
    made.__annotations__ = {**{one.name: one.type for one in every}, "return": None}
    return made


class _Standard:
    """What the standard library's functions look for in a class, made when they do."""

    __slots__ = ("_frozen", "_name", "_order")

    def __init__(self, name: str, *, frozen: bool, order: bool) -> None:
        self._name = name
        self._frozen = frozen
        self._order = order

    def __get__(self, instance: Any, owner: type) -> Any:
        """Return the attribute that the standard decorator would have made."""
        import dataclasses

        listed = []
        for one in _fields(owner):
            given: dict[str, Any] = {"compare": one.compare, "repr": one.repr, "kw_only": bool(one.kw_only)}
            if one.default is not _MISSING:
                given["default"] = one.default
            if one.default_factory is not _MISSING:
                given["default_factory"] = one.default_factory
            listed.append((one.name, one.type, dataclasses.field(**given)))
        made = dataclasses.make_dataclass(owner.__name__, listed, frozen=self._frozen, order=self._order)
        return getattr(made, self._name)


if TYPE_CHECKING:
    from dataclasses import dataclass, field, fields, is_dataclass, replace
else:
    dataclass, field, fields, is_dataclass, replace = _dataclass, _field, _fields, _is_dataclass, _replace
