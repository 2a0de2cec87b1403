"""The Python of a base image, found from its configuration and its file system without running it."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from typing import Any, Final

from imagespec.builders.assembly.base import search_path
from imagespec.builders.assembly.file_system import FileSystem
from imagespec.errors import Unsupported
from imagespec.plan import PythonEnvironment
from imagespec.values import dataclass

__all__ = ["Interpreter", "environment_python", "find_interpreter"]


_MINOR: Final = re.compile(r"python3\.(\d+)$")
_HINT: Final = "choose a base with Python, or --builder buildkit, which can bring one"


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreter:
    """A Python 3: its absolute path, its version (``3.11.2``, or ``3.11`` where no more is known), and its C library.

    ``libc`` is ``glibc 2.36`` or ``musl 1.2.4``.
    """

    path: str
    version: str
    libc: str

    @property
    def minor(self) -> str:
        """The first two parts of the version."""
        return ".".join(self.version.split(".")[:2])


def find_interpreter(files: FileSystem, run_time: Mapping[str, Any], step: PythonEnvironment) -> Interpreter:
    """Return the base's interpreter that fits the step; raise Unsupported, saying which ones there are."""
    found = [_described(files, path) for path in _candidates(files, run_time, step)]
    known = [one for one in found if one is not None]
    for interpreter in known:
        if _fits(interpreter.version, step.version):
            return interpreter
    wanted = f"Python {step.version}" if step.version else step.executable or "Python 3"
    # The same file may be found by several names: the first one says enough.
    distinct = {files.real(one.path): one for one in reversed(known)}
    has = ", ".join(sorted(f"{one.version} ({one.path})" for one in distinct.values()))
    raise Unsupported(
        f"base_image: it has no {wanted}" + (f", it has {has}" if has else ""),
        builder="daemonless",
        field="python_version" if step.version else "base_image",
        hint=_HINT,
    )


def environment_python(files: FileSystem, prefix: str) -> Interpreter:
    """Return the interpreter of an environment that the image has already; raise Unsupported when there is none."""
    settings = _settings(files, prefix.strip("/"))
    version = settings.get("version_info") or settings.get("version") or ""
    folder = settings.get("home", "")
    if not version or not folder:
        raise Unsupported(
            f"base_image: it has no environment in {prefix}", builder="daemonless", field="base_image", hint=_HINT
        )
    minor = ".".join(version.split(".")[:2])
    version = ".".join(re.findall(r"\d+", version)[:3])
    return Interpreter(path=f"{folder}/python{minor}", version=version, libc=files.libc)


def _settings(files: FileSystem, prefix: str) -> dict[str, str]:
    text = files.texts.get(f"{prefix}/pyvenv.cfg", "")
    pairs = (line.partition("=") for line in text.splitlines())
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _candidates(files: FileSystem, run_time: Mapping[str, Any], step: PythonEnvironment) -> list[str]:
    """Return paths to look at, as ``python`` would be looked up: the folders of PATH in order."""
    if step.executable.startswith("/"):
        return [step.executable]
    names = [step.executable] if step.executable else []
    if not names:
        minor = ".".join(step.version.split(".")[:2])
        names = [f"python{minor}"] if minor else []
        names += ["python3", "python", *(f"python3.{number}" for number in range(20, 7, -1))]
    folders = [folder for folder in search_path(run_time).split(":") if folder.startswith("/")]
    return [f"{folder}/{name}" for folder in folders for name in names if files.node(f"{folder}/{name}") is not None]


def _described(files: FileSystem, path: str) -> Interpreter | None:
    """Return what is known of the interpreter at ``path``; one inside an environment stands for the one behind it."""
    real = files.real(path)
    folder = posixpath.dirname(path)
    settings = _settings(files, posixpath.dirname(folder).strip("/"))
    if settings.get("home"):
        folder = settings["home"]
    if real not in files.nodes:
        return None
    match = _MINOR.search(real) or _MINOR.search(path)
    minor = f"3.{match[1]}" if match else _minor_by_library(files, posixpath.dirname(posixpath.dirname(real)))
    if not minor:
        return None
    if files.node(f"{folder}/python{minor}") is not None:
        path = f"{folder}/python{minor}"
    return Interpreter(path=path, version=_version(files, real, minor), libc=files.libc)


def _minor_by_library(files: FileSystem, root: str) -> str:
    minors = [number for number in range(20, 7, -1) if f"{root}/lib/python3.{number}" in files.nodes]
    return f"3.{minors[0]}" if minors else ""


def _version(files: FileSystem, real: str, minor: str) -> str:
    """Return the full version, from the text in the binary or in its library; the minor version where there is none."""
    root = posixpath.dirname(posixpath.dirname(real))
    for path in (real, f"{root}/bin/python{minor}", f"{root}/lib/libpython{minor}.so.1.0"):
        version = files.texts.get(f"{path}#version")
        if version:
            return version
    found = [text for path, text in sorted(files.texts.items()) if path.endswith(f"python{minor}.so.1.0#version")]
    return found[0] if found else minor


def _fits(version: str, wanted: str) -> bool:
    """Return whether a version is the wanted one as far as both say."""
    return all(have == want for have, want in zip(version.split("."), wanted.split("."), strict=False) if want)
