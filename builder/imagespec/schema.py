"""The JSON Schema of an ImageSpec in YAML or TOML, for completion and checks in editors.

Source: JSON Schema draft 2020-12. The schema says what a field looks like; its whole grammar is in ``fields``.
"""

from __future__ import annotations

from typing import Any, Final

from imagespec.builder_options import BUILD_KEYS, PLAN_KEYS
from imagespec.spec import FIELD_NAMES, CopyFileDetection

__all__ = ["json_schema"]

_TEXT: Final[dict[str, Any]] = {"type": "string", "minLength": 1}
_TEXTS: Final[dict[str, Any]] = {"type": "array", "items": _TEXT}
_ANY_TEXTS: Final[dict[str, Any]] = {"type": "object", "additionalProperties": {"type": "string"}}
_MOUNTS: Final[dict[str, Any]] = {
    "type": "array",
    "items": {"type": "array", "items": _TEXT, "minItems": 2, "maxItems": 2},
}

_SHAPES: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "name": (_TEXT, "The image's repository name, below the registry."),
    "python_version": (
        {"type": "string", "pattern": r"^3\.[0-9]{1,2}(\.[0-9]{1,3})?$"},
        'In quotes: "3.13". Without it, the base decides.',
    ),
    "builder": (_TEXT, "buildkit, daemonless, noop, or a builder that a package registers; without it, the usual one."),
    "source_root": (_TEXT, "The folder that sources are copied from; see source_copy_mode."),
    "env": (_ANY_TEXTS, "Environment variables, for the build and the container; values arrive as written."),
    "registry": (_TEXT, "host[:port][/path], for example ghcr.io/team. Without it the image stays on this machine."),
    "packages": (_TEXTS, "Python requirements (PEP 508)."),
    "conda_packages": (_TEXTS, "Conda match specifications."),
    "conda_channels": (_TEXTS, "Conda channels, first choice first."),
    "requirements": (
        _TEXT,
        "requirements.txt, uv.lock, poetry.lock, pylock.toml, environment.yml or pyproject.toml.",
    ),
    "apt_packages": (_TEXTS, "Debian packages: name[=version]."),
    "cuda": (_TEXT, "Refused with advice: no builder installs CUDA."),
    "cudnn": (_TEXT, "Refused with advice: no builder installs cuDNN."),
    "base_image": (
        {"oneOf": [_TEXT, {"$ref": "#/$defs/spec"}]},
        "An image reference, oci-layout:PATH[:tag], or another ImageSpec.",
    ),
    "platform": ({"oneOf": [_TEXT, _TEXTS]}, "For example linux/amd64,linux/arm64."),
    "pip_index": (_TEXT, "The package index instead of the usual one; without credentials."),
    "pip_extra_index_url": (_TEXTS, "More package indexes; without credentials."),
    "pip_secret_mounts": (_MOUNTS, "Pairs (file here, path in steps), never kept in the image."),
    "pip_extra_args": (_TEXT, "More arguments for the installer."),
    "registry_config": (_TEXT, "A Docker config.json with the credentials for this image's registry."),
    "entrypoint": ({"type": "array", "items": {"type": "string"}}, "Replaces the base's; [] removes it."),
    "commands": (_TEXTS, "Shell commands, run as root after the sources are copied."),
    "tag_format": (
        {"type": "string", "pattern": r"\{spec_hash\}"},
        "The tag, with {spec_hash} in it, for example {spec_hash}-dev.",
    ),
    "source_copy_mode": (
        {"enum": [mode.name for mode in CopyFileDetection]},
        "Which files below source_root are copied.",
    ),
    "copy": (_TEXTS, "Files and folders to copy, relative to this file, below the workdir."),
    "python_exec": (_TEXT, "The base's interpreter to use, for example /usr/bin/python3."),
    "runtime_packages": (_TEXTS, "Packages that are installed when the container starts."),
    "builder_options": (
        {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "build_args": _ANY_TEXTS,
                "bytecode": {"type": "boolean"},
                "cache": {"type": "boolean"},
                "cache_from": _TEXTS,
                "cache_to": _TEXT,
                "commands_first": {"type": "boolean"},
                "compression": {"enum": ["gzip", "gzip-member", "zstd", "uncompressed"]},
                "extras": _TEXTS,
                "groups": _TEXTS,
                "labels": _ANY_TEXTS,
                "network": {"enum": ["default", "host", "none"]},
                "secrets": _MOUNTS,
                "ssh": _TEXTS,
                "user": _TEXT,
                "workdir": _TEXT,
            },
        },
        "How the builder works; see the table of builder options.",
    ),
    "builder_config": (
        {
            "type": "object",
            "additionalProperties": False,
            "properties": {"uv_image": _TEXT, "micromamba_image": _TEXT},
        },
        "Images that hold the tools, instead of the usual ones.",
    ),
}


def json_schema() -> dict[str, Any]:
    """Return the schema of one spec, or of a list of specs, as plain data."""
    properties = {name: {**_SHAPES[name][0], "description": _SHAPES[name][1]} for name in FIELD_NAMES}
    described = set(properties["builder_options"]["properties"])
    if described != {*PLAN_KEYS, *BUILD_KEYS}:
        raise AssertionError(f"builder options without a schema: {described ^ {*PLAN_KEYS, *BUILD_KEYS}}")
    spec = {"type": "object", "additionalProperties": False, "properties": properties}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "ImageSpec",
        "description": "A container image, declared.",
        "$ref": "#/$defs/file",
        "$defs": {
            "file": {"oneOf": [{"$ref": "#/$defs/spec"}, {"type": "array", "items": {"$ref": "#/$defs/spec"}}]},
            "spec": spec,
        },
    }
