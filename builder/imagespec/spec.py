"""The declaration: what the user asked for, validated and frozen, with no IO and no default taken from the machine.

Field names, types and meaning are those of flytekit's ``ImageSpec``, so that a spec moves over unchanged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from imagespec import fields, plain_data, values
from imagespec.errors import SpecError
from imagespec.values import dataclass, field, replace

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["FIELD_NAMES", "CopyFileDetection", "Declaration"]


class CopyFileDetection(Enum):
    """Which files under ``source_root`` go into the image; names and values as in flytekit."""

    LOADED_MODULES = 1
    ALL = 2
    NO_COPY = 3

    @classmethod
    def of(cls, value: object) -> CopyFileDetection | None:
        """Return the mode that ``value`` means: a member, flytekit's member, or a name; raise SpecError."""
        name = value.name if isinstance(value, Enum) else value
        if name is None:
            return None
        if not isinstance(name, str) or name.upper() not in cls.__members__:
            hint = fields.choice_hint(str(name), list(cls.__members__))
            plain_data.refuse("source_copy_mode", "is not a copy mode", name, hint=hint)
        return cls[name.upper()]


@dataclass(frozen=True, slots=True)
class Declaration:
    """An ImageSpec as data. Sequences become tuples and mappings immutable; every field is checked at construction.

    Raise SpecError, naming the field, when a value is outside its grammar, and for an unknown keyword.
    """

    name: str = "flytekit"
    python_version: str | None = None
    builder: str | None = None
    source_root: str | None = None
    env: Mapping[str, str] | None = None
    registry: str | None = None
    packages: Sequence[str] | None = None
    conda_packages: Sequence[str] | None = None
    conda_channels: Sequence[str] | None = None
    requirements: str | None = None
    apt_packages: Sequence[str] | None = None
    cuda: str | None = None
    cudnn: str | None = None
    base_image: str | Declaration | None = None
    platform: str | None = None
    pip_index: str | None = None
    pip_extra_index_url: Sequence[str] | None = None
    pip_secret_mounts: Sequence[tuple[str, str]] | None = None
    pip_extra_args: str | None = None
    registry_config: str | None = None
    entrypoint: Sequence[str] | None = None
    commands: Sequence[str] | None = None
    tag_format: str | None = None
    source_copy_mode: CopyFileDetection | None = None
    copy: Sequence[str] | None = None
    python_exec: str | None = None
    runtime_packages: Sequence[str] | None = None
    builder_options: Mapping[str, Any] | None = None
    builder_config: Mapping[str, Any] | None = None
    # Not declared by users: how this value is to be treated, never part of equality or identity.
    is_forced: bool = field(default=False, kw_only=True, compare=False, repr=False)
    folder: str | None = field(default=None, kw_only=True, compare=False, repr=False)
    # The id that the image's own processes know this spec by, where another library defines it (flytekit's).
    image_id: str = field(default="", kw_only=True, compare=False, repr=False)
    # Python packages that an adapter adds to what the user listed (flytekit itself): built, and in the tag.
    added_packages: tuple[str, ...] = field(default=(), kw_only=True, compare=False, repr=False)
    # Values as the user wrote them, where checking made another text of them; None where what was written has no
    # order (a set), or was of a kind that is not kept. Only flytekit's own tag depends on it.
    written: Mapping[str, Any] = field(default_factory=dict, kw_only=True, compare=False, repr=False)

    def __new__(cls, *args: object, **keywords: object) -> Self:
        """Return an unfilled instance; raise SpecError for a keyword that is not a field, with the nearest one."""
        for key in keywords:
            if key not in _ACCEPTED:
                raise SpecError(
                    f"{key}: is not a field of ImageSpec", path=key, hint=fields.choice_hint(key, list(FIELD_NAMES))
                )
        return object.__new__(cls)

    def __post_init__(self) -> None:
        written = dict(self.written)
        for name, check in _CHECKS.items():
            given = getattr(self, name)
            checked = check(name, given)
            object.__setattr__(self, name, checked)
            if _is_lost(given):
                written[name] = None
            elif name in _NORMALISED and name not in written and given != checked:
                written[name] = tuple(given) if isinstance(given, list) else given
        object.__setattr__(self, "written", plain_data.FrozenDict(written))
        if self.source_root is not None and self.source_copy_mode is None:
            # Flyte's rule: a source root alone means that the loaded modules are copied.
            object.__setattr__(self, "source_copy_mode", CopyFileDetection.LOADED_MODULES)

    def declared(self) -> dict[str, Any]:
        """Return the fields that are set, by name, in the order of declaration."""
        pairs = ((name, getattr(self, name)) for name in FIELD_NAMES)
        return {name: value for name, value in pairs if value is not None}

    def replaced(self, **changes: Any) -> Self:
        """Return a copy with these fields changed; whether it is forced and its folder stay as they are."""
        kept = {name: value for name, value in self.written.items() if name not in changes}
        return replace(self, **{"written": kept, **changes})

    def with_code(self, root: str | None, *, is_sent_beside: bool) -> Self:
        """Return the spec with the code that goes into its image, by Flyte's rule; ``root`` is the project's folder.

        A spec that says what is copied gets at most a root to copy from. Any other gets the loaded modules, unless the
        code is sent beside the image (fast registration) or nobody says where it is.
        """
        root = self.source_root or root
        if self.source_copy_mode is not None:
            copies = self.source_copy_mode is not CopyFileDetection.NO_COPY
            return self.replaced(source_root=root) if copies and root != self.source_root else self
        if root is None or is_sent_beside:
            return self
        return self.replaced(source_root=root, source_copy_mode=CopyFileDetection.LOADED_MODULES)

    def force_push(self) -> Self:
        """Return a copy that is built even when its image exists."""
        return self.replaced(is_forced=True)

    def with_packages(self, packages: str | Iterable[str]) -> Self:
        """Return a copy with more Python packages."""
        return self._extended("packages", packages)

    def with_apt_packages(self, apt_packages: str | Iterable[str]) -> Self:
        """Return a copy with more apt packages."""
        return self._extended("apt_packages", apt_packages)

    def with_commands(self, commands: str | Iterable[str]) -> Self:
        """Return a copy with more commands, run after those it has."""
        return self._extended("commands", commands)

    def with_copy(self, src: str | Iterable[str]) -> Self:
        """Return a copy with more files or folders to copy."""
        return self._extended("copy", src)

    def with_runtime_packages(self, runtime_packages: str | Iterable[str]) -> Self:
        """Return a copy with more packages that are installed when the container starts."""
        return self._extended("runtime_packages", runtime_packages)

    def with_builder_options(self, builder_options: Mapping[str, Any]) -> Self:
        """Return a copy with these builder options added; an option that is set already is replaced."""
        return self.replaced(builder_options={**(self.builder_options or {}), **builder_options})

    def _extended(self, name: str, more: str | Iterable[str]) -> Self:
        added = (more,) if isinstance(more, str) else tuple(more)
        before = self.written.get(name) or getattr(self, name) or ()
        changes: dict[str, Any] = {name: (*before, *added)}
        if name in self.written and self.written[name] is None:
            changes["written"] = self.written
        return self.replaced(**changes)


FIELD_NAMES: Final = tuple(one.name for one in values.fields(Declaration) if not one.kw_only)
_ACCEPTED: Final = frozenset(one.name for one in values.fields(Declaration))
# Fields whose checks may return another text than they are given, and that flytekit's tag is made of.
_NORMALISED: Final = ("packages", "base_image", "platform")


def _is_lost(value: object) -> bool:
    """Return whether a checked value does not tell what was written: in which order, or of which kind."""
    if isinstance(value, Mapping):
        return any(map(_holds_tuple, value.values()))
    return isinstance(value, (set, frozenset)) or hasattr(value, "__fspath__")


def _holds_tuple(value: object) -> bool:
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return isinstance(value, tuple) or any(map(_holds_tuple, inner))


def _optional(check: Any) -> Any:
    return lambda path, value: None if value is None else check(path, value)


def _list_of(check: Any) -> Any:
    return lambda path, value: plain_data.strings(path, value, check)


def _base_image(path: str, value: object) -> object:
    return value if value is None or isinstance(value, Declaration) else fields.base_image(path, value)


_CHECKS: Final[dict[str, Any]] = {
    "name": fields.repository_name,
    "python_version": _optional(fields.python_version),
    "builder": _optional(fields.builder_name),
    "source_root": _optional(fields.local_path),
    "env": fields.environment,
    "registry": _optional(fields.registry),
    "packages": _list_of(fields.python_package),
    "conda_packages": _list_of(fields.conda_package),
    "conda_channels": _list_of(fields.conda_channel),
    "requirements": _optional(fields.local_path),
    "apt_packages": _list_of(fields.apt_package),
    "cuda": _optional(plain_data.text),
    "cudnn": _optional(plain_data.text),
    "base_image": _base_image,
    "platform": fields.platform,
    "pip_index": _optional(fields.url),
    "pip_extra_index_url": _list_of(fields.url),
    "pip_secret_mounts": fields.secret_mounts,
    "pip_extra_args": _optional(fields.pip_arguments),
    "registry_config": _optional(fields.local_path),
    "entrypoint": _list_of(fields.entry_point_word),
    "commands": _list_of(fields.command),
    "tag_format": _optional(fields.tag_format),
    "source_copy_mode": lambda path, value: CopyFileDetection.of(value),
    "copy": _list_of(fields.local_path),
    "python_exec": _optional(fields.python_executable),
    "runtime_packages": _list_of(fields.python_package),
    "builder_options": plain_data.mapping,
    "builder_config": plain_data.mapping,
}
