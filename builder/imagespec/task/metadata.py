"""How a task is retried, cached, timed out and labelled."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from imagespec.errors import SpecError

__all__ = ["TaskMetadata"]


@dataclass(frozen=True, slots=True)
class TaskMetadata:
    """Metadata of a task; ``timeout`` in seconds or as a timedelta. Raise SpecError for caching half declared."""

    cache: bool = False
    cache_serialize: bool = False
    cache_version: str = ""
    cache_ignore_input_vars: tuple[str, ...] = ()
    interruptible: bool | None = None
    deprecated: str = ""
    retries: int = 0
    timeout: datetime.timedelta | int | None = None
    pod_template_name: str | None = None
    generates_deck: bool = False
    is_eager: bool = False
    labels: Mapping[str, str] | None = None
    annotations: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.timeout, int) and self.timeout:
            object.__setattr__(self, "timeout", datetime.timedelta(seconds=self.timeout))
        elif self.timeout and not isinstance(self.timeout, datetime.timedelta):
            raise SpecError("timeout: is neither a timedelta nor whole seconds", path="timeout")
        if self.cache and not self.cache_version:
            raise SpecError("cache_version: is not set, though cache is on", path="cache_version")
        for name in ("cache_serialize", "cache_ignore_input_vars"):
            if getattr(self, name) and not self.cache:
                raise SpecError(f"{name}: is set, though cache is off", path=name, hint="set cache=True")

    @property
    def timeout_s(self) -> float:
        """The time-out in seconds, 0 without."""
        return self.timeout.total_seconds() if isinstance(self.timeout, datetime.timedelta) else 0.0

    @property
    def retry_strategy(self) -> Any:
        """The ``flyteidl.core.literals_pb2.RetryStrategy``."""
        from flyteidl.core import literals_pb2

        return literals_pb2.RetryStrategy(retries=self.retries)

    def to_taskmetadata_model(self) -> Any:
        """Return the ``flyteidl.core.tasks_pb2.TaskMetadata`` (flytekit's model of it has no counterpart here)."""
        from flyteidl.core import tasks_pb2
        from google.protobuf.wrappers_pb2 import BoolValue

        made = tasks_pb2.TaskMetadata(
            discoverable=self.cache,
            runtime=tasks_pb2.RuntimeMetadata(
                type=tasks_pb2.RuntimeMetadata.FLYTE_SDK, version=_sdk_version(), flavor="python"
            ),
            retries=self.retry_strategy,
            interruptible=self.interruptible,
            discovery_version=self.cache_version,
            deprecated_error_message=self.deprecated,
            cache_serializable=self.cache_serialize,
            pod_template_name=self.pod_template_name,
            cache_ignore_input_vars=self.cache_ignore_input_vars,
            is_eager=self.is_eager,
            generates_deck=BoolValue(value=self.generates_deck),
            metadata=tasks_pb2.K8sObjectMetadata(labels=self.labels, annotations=self.annotations),
        )
        if isinstance(self.timeout, datetime.timedelta):
            made.timeout.FromTimedelta(self.timeout)
        return made


def _sdk_version() -> str:
    """Return the version of the SDK whose form this is: flytekit where it is installed, else its protobufs."""
    for package in ("flytekit", "flyteidl"):
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return ""
