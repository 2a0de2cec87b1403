"""Tasks run as Flyte runs them: the registered command, in the image, with inputs and outputs in files."""

from __future__ import annotations

from pathlib import Path

from flyteidl.core import literals_pb2

from tests.flyte.conftest import Commands

CODE = "/code.tar.gz"
"""Where fast registration's archive is expected in the container."""


def executed(flyte: Commands, image: str, arguments: list[str], folder: Path, *options: str) -> str:
    """Return the text that a task gives back for x = 7; ``options`` are more of ``docker run``."""
    rendered = {
        "{{.input}}": "/io/inputs.pb",
        "{{.outputPrefix}}": "/io",
        "{{.rawOutputDataPrefix}}": "/tmp/raw",
        "{{.checkpointOutputPrefix}}": '""',
        "{{.prevCheckpointPrefix}}": '""',
        "{{ .remote_package_path }}": CODE,
        "{{ .dest_dir }}": "/root",
    }
    words = [rendered.get(word, word) for word in arguments]
    flyte.docker("run", "--rm", "--quiet", "-v", f"{_inputs(folder, 7)}:/io", *options, image, *words)
    outputs = literals_pb2.LiteralMap.FromString((folder / "outputs.pb").read_bytes())
    return str(outputs.literals["o0"].scalar.primitive.string_value)


def _inputs(folder: Path, x: int) -> Path:
    literal = literals_pb2.Literal(scalar=literals_pb2.Scalar(primitive=literals_pb2.Primitive(integer=x)))
    folder.chmod(0o777)
    (folder / "inputs.pb").write_bytes(literals_pb2.LiteralMap(literals={"x": literal}).SerializeToString())
    return folder
