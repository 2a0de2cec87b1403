"""The golden cases: a spec with its files, and what it makes of the Dockerfile, the small files and the tag."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imagespec.builder_options import parse
from imagespec.builders.commands import context_texts
from imagespec.compose import Composition
from imagespec.dockerfile import render
from imagespec.plan import RECIPE
from imagespec.settings import Settings
from imagespec.targets import named as targets
from tests.golden.tags import file_of

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "testdata" / "golden"
RECORD = FOLDER / "recipe.json"
TEMPLATE = ROOT / "templates" / "Dockerfile.j2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a case makes: texts by the name of the file that keeps them."""

    texts: tuple[tuple[str, str], ...]

    @property
    def digest(self) -> str:
        """The digest of what decides the image's bytes: everything but the tag."""
        rendered = [text for name, text in self.texts if name != "tag"]
        return hashlib.sha256(json.dumps(rendered).encode()).hexdigest()


def names() -> list[str]:
    """Return the names of the cases."""
    return sorted(folder.parent.name for folder in FOLDER.glob("*/spec"))


def outcome(name: str) -> Outcome:
    """Return what the case makes now."""
    folder = FOLDER / name / "spec"
    (target,) = targets.load(file_of(folder), folder)
    settings = Settings.load({"HOME": "/nonexistent"}, folder)
    identity = Composition(settings, cwd=str(folder), use_stat_cache=False).identify(target)
    secrets = [mount for _, mount in target.declaration.pip_secret_mounts or ()]
    _, how = parse(target.declaration.builder_options)
    rendering = render(identity.plan, TEMPLATE.read_text(), secrets, [agent.partition("=")[0] for agent in how.ssh])
    files = [f"== {file.path}\n{file.data.decode()}" for file in context_texts(identity.plan)]
    files += [f"== build argument {argument}\n{value!r}\n" for argument, value in rendering.arguments]
    tag = f"{identity.reference.tag}\n"
    return Outcome(texts=(("Dockerfile", rendering.dockerfile), ("context.txt", "".join(files)), ("tag", tag)))


def recorded() -> dict[str, Any]:
    """Return the recipe, whether it is released, and the digest of each case under it."""
    found: dict[str, Any] = json.loads(RECORD.read_text())
    return found


def changed_under_a_released_recipe(record: dict[str, Any], digests: dict[str, str], recipe: int) -> list[str]:
    """Return the cases that are not as they were, although the recipe is released and has not been raised."""
    if not record["is_released"] or record["recipe"] != recipe:
        return []
    return [name for name, digest in record["cases"].items() if digests.get(name, digest) != digest]


def record_of(digests: dict[str, str], is_released: bool) -> dict[str, Any]:
    """Return what is to be recorded."""
    return {"recipe": RECIPE, "is_released": is_released, "cases": digests}
