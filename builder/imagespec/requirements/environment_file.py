"""conda's ``environment.yml``: packages, channels, and what it hands to pip."""

from __future__ import annotations

from typing import Final

from imagespec import fields, plain_data
from imagespec.errors import InputMissing, SpecError
from imagespec.requirements.requirements_txt import requirement_lines
from imagespec.snapshot import LockFiles, RequirementLines
from imagespec.values import dataclass

__all__ = ["ENVIRONMENT_FILE", "EnvironmentFile", "parse"]

ENVIRONMENT_FILE: Final = "environment.yml"
FILE_NAMES: Final = (ENVIRONMENT_FILE, "environment.yaml")
_PIP: Final = "environment.yml, pip"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentFile:
    """What the file asks for: conda packages, channels in order, and what pip is to install."""

    packages: tuple[str, ...]
    channels: tuple[str, ...]
    pip: RequirementLines


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
        pip=_pip(plain_data.strings("requirements.dependencies.pip", pip, plain_data.one_line) or (), lock),
    )


def _pip(lines: tuple[str, ...], lock: LockFiles) -> RequirementLines:
    """Return the lines, and those of the files that they include, as pip reads them."""
    files = {file.path: file.data for file in lock.files} | {_PIP: "\n".join(lines).encode()}

    def read(path: str) -> bytes:
        if path not in files:
            raise InputMissing(f"requirements: environment.yml includes {path!r}, which is not there", path=path)
        return files[path]

    found = requirement_lines(_PIP, read)
    if found.projects:
        raise SpecError(
            f"requirements: environment.yml installs a project here: {found.projects[0].path!r}",
            path="requirements",
            hint="list it in a requirements.txt, and the conda packages in conda_packages",
        )
    return found
