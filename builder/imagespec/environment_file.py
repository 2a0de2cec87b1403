"""conda's ``environment.yml``: packages, channels, and what it hands to pip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from imagespec import fields, plain_data
from imagespec.errors import SpecError
from imagespec.snapshot import LockFiles

__all__ = ["ENVIRONMENT_FILE", "EnvironmentFile", "parse"]

ENVIRONMENT_FILE: Final = "environment.yml"


FILE_NAMES: Final = (ENVIRONMENT_FILE, "environment.yaml")


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
        value = yaml.safe_load(next(file.data for file in lock.files if file.path in FILE_NAMES))
    except yaml.YAMLError as error:
        said = " ".join(str(error).split())
        raise SpecError(f"requirements: environment.yml is not YAML: {said}", path="requirements") from error
    if not isinstance(value, dict) or not isinstance(value.get("dependencies"), list):
        raise SpecError("requirements: environment.yml has no list of dependencies", path="requirements")
    listed = value["dependencies"]
    packages = [one for one in listed if not isinstance(one, dict)]
    pip = [line for one in listed if isinstance(one, dict) for line in one.get("pip") or ()]
    return EnvironmentFile(
        packages=plain_data.strings("requirements.dependencies", packages, fields.conda_package) or (),
        channels=plain_data.strings("requirements.channels", value.get("channels") or [], fields.conda_channel) or (),
        pip=plain_data.strings("requirements.dependencies.pip", pip, fields.python_package) or (),
    )
