"""A build by BuildKit as a value: the arguments for buildx and the files of its build context, before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from imagespec.builders import BuildOptions
from imagespec.dockerfile import (
    BASE_CONTEXT,
    REPLACED_FILE,
    Rendering,
    command_file,
    replaced_patterns,
    step_folder,
)
from imagespec.names import Reference
from imagespec.plan import (
    AptInstall,
    BaseImage,
    BuildPlan,
    CondaInstall,
    PythonEnvironment,
    PythonPackages,
    RunCommand,
)
from imagespec.requirements.poetry_lock import POETRY_LOCK, requirement_lines
from imagespec.snapshot import LocalProject, TextFile
from imagespec.values import dataclass

__all__ = ["CA_SECRET", "ENV_SECRET", "BuildxBuild", "buildx_build", "context_texts", "environment_script"]

ENV_SECRET: Final = "imagespec-env"
CA_SECRET: Final = "imagespec-ca"
PACKAGES_MOUNT: Final = "/run/imagespec/packages"
_CA_IN_STEP: Final = "/run/imagespec/ca.crt"
_CA_VARIABLES: Final = (
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "PIP_CERT",
    "GIT_SSL_CAINFO",
    "NODE_EXTRA_CA_CERTS",
)
_KEEP_ARCHIVES: Final = b'Binary::apt::APT::Keep-Downloaded-Packages "true";\n'


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildxBuild:
    """One ``docker buildx build``: ``keywords`` are python-on-whales' arguments besides paths and progress."""

    keywords: tuple[tuple[str, Any], ...]


def buildx_build(
    plan: BuildPlan,
    rendering: Rendering,
    target: Reference,
    options: BuildOptions,
    *,
    contexts: Mapping[str, str],
    insecure: bool,
    passes_on: bool = False,
) -> BuildxBuild:
    """Return the build of ``plan`` that pushes to ``target``, or loads it into the engine when the options say so.

    ``contexts`` are build contexts by name, beside the one that the base is bound to. With ``passes_on`` the engine
    only passes the image on to the registry, and keeps none for itself; its containerd image store is needed for that.
    """
    keywords: dict[str, Any] = {
        "build_args": dict(rendering.arguments),
        "build_contexts": {**contexts, **_base_context(plan, options)},
        "cache": options.use_cache,
        "labels": dict(options.labels),
        "output": _output(target, options, insecure, passes_on),
        "platforms": [str(platform) for platform in plan.platforms],
        # Provenance would make an index with an unknown/unknown platform out of a single image.
        "provenance": False,
        "sbom": False,
    }
    if options.network:
        keywords["network"] = options.network
        if options.network == "host":
            keywords["allow"] = ["network.host"]
    if options.cache_from:
        keywords["cache_from"] = [_cache_source(source) for source in options.cache_from]
    if options.cache_to:
        keywords["cache_to"] = options.cache_to
    if options.ssh:
        keywords["ssh"] = options.ssh[0]
    if options.builder_instance:
        keywords["builder"] = options.builder_instance
    return BuildxBuild(keywords=tuple(keywords.items()))


def context_texts(plan: BuildPlan) -> tuple[TextFile, ...]:
    """Return the small files that the steps read from the build context."""
    texts: list[TextFile] = []
    for index, step in enumerate(plan.steps):
        folder = step_folder(index)
        if isinstance(step, AptInstall) or (isinstance(step, PythonEnvironment) and not step.executable):
            texts.append(TextFile(path="apt/keep-archives.conf", data=_KEEP_ARCHIVES))
        elif isinstance(step, CondaInstall):
            # One "=" is conda's fuzzy match: any 3.11.x.
            python = [f"python={step.python_version}"] if step.python_version else []
            texts.append(TextFile(path=f"{folder}/conda.txt", data=_text([*python, *step.packages])))
        elif isinstance(step, PythonPackages):
            lines = [
                *step.options,
                *_locked_lines(step),
                *step.lines,
                *(_project_line(project) for project in step.projects),
            ]
            texts.append(TextFile(path=f"{folder}/requirements.txt", data=_text(lines)))
            texts.append(TextFile(path=f"{folder}/constraints.txt", data=_text(list(step.constraints))))
            if step.keep_installed:
                texts.append(TextFile(path=f"{folder}/{REPLACED_FILE}", data=_text(list(replaced_patterns(step)))))
            locked = step.lock.files if step.lock else ()
            texts.extend(TextFile(path=f"{folder}/{file.path}", data=file.data) for file in locked)
        elif isinstance(step, RunCommand) and command_file(step):
            texts.append(TextFile(path=f"{folder}/{command_file(step)}", data=_text([step.command])))
    return tuple(dict.fromkeys(texts))


def environment_script(options: BuildOptions) -> str:
    """Return the shell text that steps source before they fetch: where the site CA lies, mirror, proxies."""
    import shlex

    lines = [f"export {name}={_CA_IN_STEP}" for name in _CA_VARIABLES] if options.ca_bundle else []
    if options.python_mirror:
        lines.append(f"export UV_PYTHON_INSTALL_MIRROR={shlex.quote(options.python_mirror)}")
    for name, value in options.proxies:
        lines += [f"export {spelling}={shlex.quote(value)}" for spelling in (name.upper(), name.lower())]
    return "".join(f"{line}\n" for line in lines)


def _locked_lines(step: PythonPackages) -> tuple[str, ...]:
    if step.lock is None or step.lock.kind != POETRY_LOCK:
        return ()
    return requirement_lines(step.lock, step.extras, step.groups)


def _project_line(project: LocalProject) -> str:
    """Return the requirement line for a project in the mounted folder; an image has no use for an editable install."""
    extras = f"[{','.join(project.extras)}]" if project.extras else ""
    marker = f" ; {project.marker}" if project.marker else ""
    return f"{PACKAGES_MOUNT}/{project.path}{extras}{marker}"


def _text(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def _base_context(plan: BuildPlan, options: BuildOptions) -> dict[str, str]:
    name = plan.base.reference if isinstance(plan.base, BaseImage) else BASE_CONTEXT
    if options.base_layout:
        return {name: f"oci-layout://{options.base_layout}"}
    return {name: f"docker-image://{options.base}"} if options.base is not None else {}


def _output(target: Reference, options: BuildOptions, insecure: bool, passes_on: bool) -> dict[str, str]:
    if options.load:
        return {"type": "docker", "name": str(target)}
    output = {"type": "image", "name": str(target), "push": "true", "oci-mediatypes": "true"}
    if passes_on:
        # For BuildKit an empty value means true. buildx reads it as false, and so does not have the engine push once
        # more what it kept: it keeps nothing, above all no unpacked copy, which takes as long as making the layers.
        output |= {"push": "", "store": "false"}
    if options.compression:
        # BuildKit's gzip always is one member.
        output["compression"] = "gzip" if options.compression == "gzip-member" else options.compression
    else:
        # The default level spends most of a push in gzip for a few per cent of size.
        output |= {"compression": "gzip", "compression-level": "1"}
    if insecure:
        output["registry.insecure"] = "true"
    return output


def _cache_source(source: str) -> dict[str, str]:
    if "=" not in source:
        return {"type": "registry", "ref": source}
    return dict(part.split("=", 1) for part in source.split(",") if "=" in part)
