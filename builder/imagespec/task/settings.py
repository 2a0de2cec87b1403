"""Where and how tasks are serialized: the images that are known, project and version, fast registration."""

from __future__ import annotations

import base64
import dataclasses
import gzip
import posixpath
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar, Final

from imagespec.errors import SpecError
from imagespec.task.building import built_from_file
from imagespec.task.json_form import JsonForm
from imagespec.task.resources import ResourceSpec

__all__ = ["EntrypointSettings", "FastSerializationSettings", "Image", "ImageConfig", "SerializationSettings"]

DEFAULT_IMAGE: Final = "default"
_INTERPRETER: Final = "/opt/venv/bin/python3"
_ENTRYPOINT: Final = "bin/entrypoint.py"
_CONTEXT_VARIABLE: Final = "_F_SS_C"


@dataclass(frozen=True, slots=True)
class Image(JsonForm):
    """An image that is known by a name: ``fqn`` is registry and repository, with a tag or a digest."""

    name: str
    fqn: str
    tag: str | None = None
    digest: str | None = None

    def __post_init__(self) -> None:
        if self.tag is not None and self.digest is not None:
            raise SpecError(f"image {self.name}: has both the tag {self.tag} and the digest {self.digest}", path="tag")

    @property
    def full(self) -> str:
        """The full name, with the digest or the tag."""
        return f"{self.fqn}@{self.digest}" if self.digest else f"{self.fqn}:{self.tag}"

    @property
    def version(self) -> str | None:
        """The digest or the tag."""
        return self.digest or self.tag

    @staticmethod
    def look_up_image_info(name: str, image_identifier: str, allow_no_tag_or_digest: bool = False) -> Image:
        """Return the image that a full name, or the path of an ImageSpec's YAML file, stands for.

        The image of a file is built if it is absent. Raise SpecError for a name without tag and digest.
        """
        if Path(image_identifier).is_file():
            image_identifier = built_from_file(image_identifier)
        fqn, _, digest = image_identifier.partition("@")
        if digest:
            return Image(name=name, fqn=fqn, digest=digest)
        fqn, colon, tag = image_identifier.rpartition(":")
        if colon and "/" not in tag:
            return Image(name=name, fqn=fqn, tag=tag)
        if not allow_no_tag_or_digest:
            raise SpecError(
                f"image {name}: {image_identifier!r} has no tag and no digest", path=name, hint="for example repo:v1"
            )
        return Image(name=name, fqn=image_identifier)


@dataclass(frozen=True, slots=True)
class ImageConfig(JsonForm):
    """The images that tasks may name: one default, and others by name."""

    default_image: Image | None = None
    images: Sequence[Image] | None = None
    _nested: ClassVar[Mapping[str, type[JsonForm]]] = {"default_image": Image, "images": Image}

    def __post_init__(self) -> None:
        if self.images is not None:
            object.__setattr__(self, "images", tuple(self.images))

    def find_image(self, name: str) -> Image | None:
        """Return the image of this name, None without."""
        known = (*([self.default_image] if self.default_image else []), *(self.images or ()))
        return next((image for image in known if image.name == name), None)

    @classmethod
    def create_from(cls, default_image: Image | None, other_images: Sequence[Image] | None = None) -> ImageConfig:
        """Return a configuration of these; the default is also among the images."""
        return cls(default_image, (*([default_image] if default_image else []), *(other_images or ())))

    @classmethod
    def from_images(cls, default_image: str | None, m: Mapping[str, str] | None = None) -> ImageConfig:
        """Return a configuration of full names; raise SpecError for a default without tag and digest."""
        default = Image.look_up_image_info(DEFAULT_IMAGE, default_image) if default_image else None
        others = [Image.look_up_image_info(name, text, allow_no_tag_or_digest=True) for name, text in (m or {}).items()]
        return cls.create_from(default, others)

    @staticmethod
    def validate_image(_: Any, param: str, values: Sequence[str]) -> ImageConfig:
        """Return the configuration of command line values, ``name=image`` or the default ``image``.

        Raise SpecError for a second default; without any there is none (flytekit would fill in its own image).
        """
        default, others = None, []
        for value in values:
            name, equals, text = value.partition("=")
            image = Image.look_up_image_info(name, text) if equals else Image.look_up_image_info(DEFAULT_IMAGE, value)
            if image.name != DEFAULT_IMAGE:
                others.append(image)
            elif default is not None:
                raise SpecError(f"{param}: {default.full} and {image.full} cannot both be the default", path=param)
            else:
                default = image
        return ImageConfig.create_from(default, others)


@dataclass(frozen=True, slots=True)
class EntrypointSettings(JsonForm):
    """Where in the container the command is that runs a task."""

    path: str | None = None


@dataclass(frozen=True, slots=True)
class FastSerializationSettings(JsonForm):
    """Whether code is sent beside the image: where it is put in the container, and where it was uploaded to."""

    enabled: bool = False
    destination_dir: str | None = None
    distribution_location: str | None = None


@dataclass(slots=True)
class _Builder:
    """Collects the parameters of settings."""

    project: str | None
    domain: str | None
    version: str | None
    image_config: ImageConfig
    env: dict[str, str] | None = None
    default_resources: ResourceSpec | None = None
    git_repo: str | None = None
    flytekit_virtualenv_root: str | None = None
    python_interpreter: str = _INTERPRETER
    fast_serialization_settings: FastSerializationSettings | None = None
    source_root: str | None = None

    def with_fast_serialization_settings(self, fss: FastSerializationSettings) -> _Builder:
        """Return this builder, with these settings."""
        self.fast_serialization_settings = fss
        return self

    def build(self) -> SerializationSettings:
        """Return the settings."""
        return SerializationSettings(**{one.name: getattr(self, one.name) for one in dataclasses.fields(self)})


@dataclass(frozen=True, slots=True)
class SerializationSettings(JsonForm):
    """What serialization must be told: known images, project, domain, version, variables, where the code is."""

    image_config: ImageConfig
    project: str | None = None
    domain: str | None = None
    version: str | None = None
    env: Mapping[str, str] | None = None
    default_resources: ResourceSpec | None = None
    git_repo: str | None = None
    python_interpreter: str = _INTERPRETER
    flytekit_virtualenv_root: str | None = None
    fast_serialization_settings: FastSerializationSettings | None = None
    source_root: str | None = None

    Builder: ClassVar[type[_Builder]] = _Builder
    _nested: ClassVar[Mapping[str, type[JsonForm]]] = {
        "image_config": ImageConfig,
        "default_resources": ResourceSpec,
        "fast_serialization_settings": FastSerializationSettings,
    }

    def __post_init__(self) -> None:
        if self.flytekit_virtualenv_root is None:
            root = self.venv_root_from_interpreter(self.python_interpreter)
            object.__setattr__(self, "flytekit_virtualenv_root", root)

    @property
    def entrypoint_settings(self) -> EntrypointSettings:
        """Where the entry point is, beside the interpreter."""
        return self.default_entrypoint_settings(self.python_interpreter)

    @classmethod
    def from_transport(cls, s: str) -> SerializationSettings:
        """Return the settings that ``serialized_context`` packed; raise SpecError for another text."""
        try:
            text = gzip.decompress(base64.b64decode(s, validate=True))
        except (ValueError, EOFError, OSError, zlib.error) as error:
            raise SpecError("serialized context: is not base64 of gzip", path=_CONTEXT_VARIABLE) from error
        return cls.from_json(text)

    @classmethod
    def for_image(
        cls,
        image: str,
        version: str,
        project: str = "",
        domain: str = "",
        python_interpreter_path: str = _INTERPRETER,
    ) -> SerializationSettings:
        """Return settings with ``image`` as the default one."""
        return cls(
            image_config=ImageConfig(default_image=Image.look_up_image_info(DEFAULT_IMAGE, image)),
            project=project,
            domain=domain,
            version=version,
            python_interpreter=python_interpreter_path,
        )

    @staticmethod
    def venv_root_from_interpreter(interpreter_path: str) -> str:
        """Return the virtual environment of an interpreter: /opt/venv for /opt/venv/bin/python3."""
        return posixpath.dirname(posixpath.dirname(interpreter_path))

    @staticmethod
    def default_entrypoint_settings(interpreter_path: str) -> EntrypointSettings:
        """Return where the entry point of this interpreter's environment is."""
        root = SerializationSettings.venv_root_from_interpreter(interpreter_path)
        return EntrypointSettings(path=posixpath.join(root, _ENTRYPOINT))

    def new_builder(self) -> _Builder:
        """Return a builder that starts from these settings."""
        given = {one.name: getattr(self, one.name) for one in dataclasses.fields(self)}
        return _Builder(**{**given, "env": dict(self.env) if self.env else None})

    def should_fast_serialize(self) -> bool:
        """Return whether code is sent beside the image."""
        return self.fast_serialization_settings is not None and self.fast_serialization_settings.enabled

    @property
    def serialized_context(self) -> str:
        """These settings as one text: JSON, gzip without time, base64."""
        if self.env and _CONTEXT_VARIABLE in self.env:
            return self.env[_CONTEXT_VARIABLE]
        packed = BytesIO()
        with gzip.GzipFile(mode="wb", fileobj=packed, mtime=0) as stream:
            stream.write(self.to_json().encode())
        return base64.b64encode(packed.getvalue()).decode()

    def with_serialized_context(self) -> SerializationSettings:
        """Return settings whose variables carry these settings; the same where they do already."""
        if self.env and _CONTEXT_VARIABLE in self.env:
            return self
        env = {**(self.env or {}), _CONTEXT_VARIABLE: self.serialized_context}
        return dataclasses.replace(self, env=env)
