"""Imports point one way: every module has a row, imports from rows above or its own, and no cycle comes about."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "builder" / "imagespec"

# A module imports from its own row and from those above it. Rows 0 to 7 do no IO.
ROWS: tuple[str, ...] = (
    "sources requirements targets flyte_tags values patterns errors events sources.ignore",
    "names",
    "oci plain_data fields spec data_sizes",
    "snapshot plan builder_options planner requirements.environment_file requirements.poetry_lock "
    "requirements.project_file schema targets.interchange requirements.requirements_txt requirements.locks "
    "sources.closure sources.gitignore sources.dockerignore sources.git_index data_file flyte_tags.ignore "
    "flyte_tags.tag",
    "dockerfile tarball deflate wheels wheels.*",
    "fingerprint record pruning",
    "registry registry.api registry.hosts registry.answers registry.auth registry.referrers registry.wire "
    "builders builders.recorded builders.wrapped builders.commands builders.progress",
    "flyte_tags.stand_in ensure endings graph validator",
    "sources.content layouts sources.links sources.stat_cache sources.trees sources.walk sources.work_tree "
    "workers workspace target_lock resources sightings targets.revisions batch flyte_tags.stand_ins flyte_tags.disk "
    "registry.admin registry.blobs registry.connections registry.credentials registry.engine registry.http "
    "registry.copies registry.layers registry.layout registry.many registry.mirrors registry.tokens "
    "registry.transport registry.facts registry.records ledger builders.instances builders.cache_export "
    "builders.engine_check builders.host_uv builders.auto builders.buildkit builders.noop builders.staging "
    "builders.uv_binary builders.daemonless builders.assembly builders.assembly.*",
    "settings identity flyte_tags.names clients compose doctor report report.* push_sizes",
    "image_spec targets.named targets.folders targets.importing targets.discovery targets.hiding_places task "
    "task.* flyte flyte.* __main__ __init__ cli cli.*",
)
LAST_PURE_ROW = 7
IO_MODULES = {
    *("os", "subprocess", "socket", "ssl", "http", "tempfile", "shutil", "time", "random", "click", "flytekit"),
    *("pathlib", "threading", "asyncio"),
}

Sources = Mapping[str, str]


def sources() -> dict[str, str]:
    """Return the text of every module, by its name without ``imagespec.``."""
    found = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        parts = file.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)
        found[name] = file.read_text(encoding="utf-8")
    return found


def row_of(module: str, rows: tuple[str, ...]) -> int | None:
    """Return the row that names the module, or the package it is in (``package.*``)."""
    matches = (number for number, names in enumerate(rows) if any(fnmatchcase(module, one) for one in names.split()))
    return next(matches, None)


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield the full name of every module, and of every name taken from one, that the tree imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own(name: str, modules: Sources) -> str | None:
    """Return which of our modules an imported name lies in."""
    top, _, rest = name.partition(".")
    while top == "imagespec" and rest not in modules:
        rest = rest.rpartition(".")[0]
        if not rest:
            return "__init__"
    return rest if top == "imagespec" else None


def arrows(modules: Sources) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for module, text in modules.items():
        names = (own(name, modules) for name in imported(ast.parse(text)))
        found[module] = {name for name in names if name is not None}
    return found


def without_row(modules: Sources, rows: tuple[str, ...]) -> list[str]:
    return [f"{module}: has no row: add it to ROWS" for module in modules if row_of(module, rows) is None]


def wrong_arrows(modules: Sources, rows: tuple[str, ...]) -> list[str]:
    wrong = []
    for module, targets in arrows(modules).items():
        for target in sorted(targets):
            here, there = row_of(module, rows), row_of(target, rows)
            if here is not None and there is not None and there > here:
                wrong.append(f"{module} (row {here}) imports {target} (row {there})")
    return wrong


def cycles(modules: Sources) -> list[str]:
    graph = arrows(modules)
    done: set[str] = set()
    found: list[str] = []

    def visit(module: str, path: tuple[str, ...]) -> None:
        if module in path:
            found.append(" -> ".join((*path[path.index(module) :], module)))
        elif module not in done:
            for target in sorted(graph[module]):
                visit(target, (*path, module))
            done.add(module)

    for module in graph:
        visit(module, ())
    return found


def own_imports_in_functions(modules: Sources) -> list[str]:
    found = []
    for module, text in modules.items():
        functions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
        bodies = (node for node in ast.walk(ast.parse(text)) if isinstance(node, functions))
        names = {name for body in bodies for name in imported(body)}
        found += [f"{module} imports {name} inside a function" for name in names if own(name, modules)]
    return found


def io_in_pure_rows(modules: Sources, rows: tuple[str, ...]) -> list[str]:
    found = []
    for module, text in modules.items():
        row = row_of(module, rows)
        tops = {name.split(".")[0] for name in imported(ast.parse(text))}
        if row is not None and row <= LAST_PURE_ROW:
            found += [f"{module} (row {row}) imports {top}" for top in sorted(tops & IO_MODULES)]
    return found


def flytekit_outside_its_adapter(modules: Sources) -> list[str]:
    return [
        f"{module} imports {name}"
        for module, text in modules.items()
        for name in imported(ast.parse(text))
        if name.split(".")[0] == "flytekit" and module.split(".")[0] != "flyte"
    ]


def environment_outside_settings(modules: Sources) -> list[str]:
    found = []
    for module, text in modules.items():
        names = set(imported(ast.parse(text)))
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
                names.add(f"os.{node.attr}")
        if module != "settings":
            used = sorted(names & {"os.environ", "os.environb", "os.getenv", "os.putenv"})
            found += [f"{module} uses {name}" for name in used]
    return found


@pytest.fixture(scope="module")
def modules() -> dict[str, str]:
    return sources()


def test_every_module_has_a_row(modules: Sources) -> None:
    assert without_row(modules, ROWS) == []
    listed = " ".join(ROWS).split()
    assert len(listed) == len(set(listed)), "a module stands in one row only"


def test_imports_point_upwards(modules: Sources) -> None:
    assert wrong_arrows(modules, ROWS) == []


def test_there_is_no_import_cycle(modules: Sources) -> None:
    assert cycles(modules) == []


def test_our_own_modules_are_not_imported_inside_functions(modules: Sources) -> None:
    assert own_imports_in_functions(modules) == []


def test_pure_rows_do_no_io(modules: Sources) -> None:
    assert io_in_pure_rows(modules, ROWS) == []


def test_only_the_adapter_imports_flytekit(modules: Sources) -> None:
    assert flytekit_outside_its_adapter(modules) == []


def test_only_settings_reads_the_environment(modules: Sources) -> None:
    assert environment_outside_settings(modules) == []


WRONG_ROWS = ("low", "high other")


@pytest.mark.parametrize(
    "line", ["import imagespec.high", "from imagespec import high", "from imagespec.high import X"]
)
def test_a_wrong_arrow_is_seen(line: str) -> None:
    assert wrong_arrows({"low": line, "high": ""}, WRONG_ROWS) == ["low (row 0) imports high (row 1)"]


def test_a_cycle_is_seen() -> None:
    wrong = {"high": "from imagespec import other", "other": "if True:\n    import imagespec.high"}
    assert cycles(wrong) == ["high -> other -> high"]


def test_the_other_wrongs_are_seen() -> None:
    wrong = {
        "low": "import os.path\ndef f():\n    from imagespec.high import X",
        "high": "import os, flytekit\nos.environ",
        "new": "",
    }
    assert io_in_pure_rows(wrong, WRONG_ROWS) == [
        "low (row 0) imports os",
        "high (row 1) imports flytekit",
        "high (row 1) imports os",
    ]
    assert own_imports_in_functions(wrong) == ["low imports imagespec.high.X inside a function"]
    assert flytekit_outside_its_adapter(wrong) == ["high imports flytekit"]
    assert environment_outside_settings(wrong) == ["high uses os.environ"]
    assert without_row(wrong, WRONG_ROWS) == ["new: has no row: add it to ROWS"]
