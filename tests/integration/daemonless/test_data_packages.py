"""The packages most used in data work, and flytekit with all it needs: they import inside images made of wheels."""

from __future__ import annotations

import os
import subprocess
import uuid
from pathlib import Path
from typing import Any

import pytest

from imagespec.builders import BuildOptions
from imagespec.builders.daemonless import DaemonlessBuilder
from imagespec.events import discard
from imagespec.names import Reference
from imagespec.registry.http import HttpRegistry
from imagespec.validator import check_image
from tests.integration.sources import Sources, plan_of

pytestmark = pytest.mark.integration

DATA = {
    **{name: name for name in ("numpy", "pandas", "pyarrow", "scipy", "pydantic", "requests", "boto3", "sqlalchemy")},
    **{name: name for name in ("polars", "tqdm", "joblib", "fastapi", "httpx", "seaborn")},
    "scikit-learn": "sklearn.linear_model",
    "matplotlib": "matplotlib.pyplot",
    "pillow": "PIL.Image",
    "pyyaml": "yaml",
    "lxml": "lxml.etree",
    "statsmodels": "statsmodels.api",
}


def run(bed: dict[str, Any], packages: list[str], cache: Path, script: str) -> str:
    reference = Reference.parse(f"{bed['registry']}/daemonless/{uuid.uuid4().hex[:12]}:t")
    plan = plan_of(base_image=f"{bed['registry']}/{bed['bases']['python3.11']}", packages=packages)
    with HttpRegistry() as registry:
        builder = DaemonlessBuilder(cache_dir=cache, registry=registry)
        builder.build(plan, Sources({}), reference, options=BuildOptions(), emit=discard)
        check_image(registry, reference, base_layers=1, changed={"root", "home/flytekit"})
    env = {**os.environ, "DOCKER_HOST": bed["docker_host"], "DOCKER_CONFIG": bed["docker_config"]}
    env["PATH"] = os.pathsep.join([*bed["path"], env["PATH"]])
    words = ["docker", "run", "--rm", "--quiet", str(reference), "sh", "-c", script]
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def test_data_packages_import(testbed: dict[str, Any], tmp_path: Path) -> None:
    assert len(DATA) == 20
    script = "; ".join(f"import {module}" for module in DATA.values())
    out = run(testbed, [*DATA], tmp_path, f"pip check && python -c '{script}; print(20)'")
    assert out == "No broken requirements found.\n20\n"


def test_flytekit_s_own_command_runs(testbed: dict[str, Any], tmp_path: Path) -> None:
    out = run(testbed, ["flytekit==1.16.31"], tmp_path, "pip check && pyflyte --help")
    assert out.startswith("No broken requirements found.\n")
    assert "Usage: pyflyte" in out
