"""conda's ``environment.yml``: packages, channels, and what it hands to pip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from imagespec import fields
from imagespec.errors import SpecError
from imagespec.snapshot import LockFiles

__all__ = ["ENVIRONMENT_FILE", "EnvironmentFile", "parse"]

ENVIRONMENT_FILE: Final = "environment.yml"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentFile:
    """What the file asks for: conda packages, channels in order, and requirement lines for pip."""

    packages: tuple[str, ...]
    channels: tuple[str, ...]
    pip: tuple[str, ...]


def parse(lock: LockFiles) -> EnvironmentFile:
    """Return what an ``environment.yml`` says; raise SpecError, naming the place in it."""
    import yaml

    try:
        value = yaml.safe_load(lock.files[0].data)
    except yaml.YAMLError as error:
        said = " ".join(str(error).split())
        raise SpecError(f"requirements: environment.yml is not YAML: {said}", path="requirements") from error
    if not isinstance(value, dict) or not isinstance(value.get("dependencies"), list):
        raise SpecError("requirements: environment.yml has no list of dependencies", path="requirements")
    listed = value["dependencies"]
    packages = [one for one in listed if not isinstance(one, dict)]
    pip = [line for one in listed if isinstance(one, dict) for line in one.get("pip") or ()]
    return EnvironmentFile(
        packages=fields.strings("requirements.dependencies", packages, fields.conda_package) or (),
        channels=fields.strings("requirements.channels", value.get("channels") or [], fields.conda_channel) or (),
        pip=fields.strings("requirements.dependencies.pip", pip, fields.python_package) or (),
    )
