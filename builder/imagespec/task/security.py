"""Secrets that a task asks for, and whom it runs as."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar

from imagespec.errors import SpecError
from imagespec.task.idl_form import IdlForm

__all__ = ["Identity", "OAuth2Client", "OAuth2TokenRequest", "Secret", "SecurityContext"]

_ENV_NAME = re.compile(r"[A-Z_][A-Z0-9_]*")


class _MountType(Enum):
    """How a secret is given to the container; the numbers are those of flyteidl."""

    ANY = 0
    ENV_VAR = 1
    FILE = 2


@dataclass(frozen=True, slots=True)
class Secret(IdlForm):
    """One secret: ``group`` is the store's name for it (a Kubernetes Secret), ``key`` the entry in it.

    ``env_var`` names the variable that gets the value, or with MountType.FILE the path. Raise SpecError without a
    group, and for a name that no variable can have.
    """

    group: str | None = None
    key: str | None = None
    group_version: str | None = None
    mount_requirement: _MountType = _MountType.ANY
    env_var: str | None = None

    MountType: ClassVar[type[_MountType]] = _MountType

    def __post_init__(self) -> None:
        if self.group is None:
            raise SpecError("secret: has no group", path="group", hint="name the store's entry, for example group='db'")
        if self.env_var is not None and not _ENV_NAME.fullmatch(self.env_var):
            raise SpecError(
                f"secret: {self.env_var!r} is no name of a variable", path="env_var", hint="capitals, digits and _"
            )

    def to_flyte_idl(self) -> Any:
        """Return the ``flyteidl.core.security_pb2.Secret``."""
        from flyteidl.core import security_pb2

        return security_pb2.Secret(
            group=self.group,
            group_version=self.group_version,
            key=self.key,
            mount_requirement=self.mount_requirement.value,
            env_var=self.env_var,
        )

    @classmethod
    def from_flyte_idl(cls, pb2_object: Any) -> Secret:
        """Return the value of a protobuf; what is empty there is None here."""
        return cls(
            group=pb2_object.group,
            group_version=pb2_object.group_version or None,
            key=pb2_object.key or None,
            mount_requirement=_MountType(pb2_object.mount_requirement),
            env_var=pb2_object.env_var or None,
        )


@dataclass(frozen=True, slots=True)
class OAuth2Client(IdlForm):
    """A client of an identity provider; the secret is not shown."""

    client_id: str
    client_secret: Secret

    def to_flyte_idl(self) -> Any:
        """Return the ``flyteidl.core.security_pb2.OAuth2Client``."""
        from flyteidl.core import security_pb2

        return security_pb2.OAuth2Client(client_id=self.client_id, client_secret=self.client_secret.to_flyte_idl())

    @classmethod
    def from_flyte_idl(cls, pb2_object: Any) -> OAuth2Client:
        """Return the value of a protobuf."""
        return cls(client_id=pb2_object.client_id, client_secret=Secret.from_flyte_idl(pb2_object.client_secret))


@dataclass(frozen=True, slots=True)
class Identity(IdlForm):
    """Whom a task runs as."""

    iam_role: str | None = None
    k8s_service_account: str | None = None
    oauth2_client: OAuth2Client | None = None
    execution_identity: str | None = None

    def to_flyte_idl(self) -> Any:
        """Return the ``flyteidl.core.security_pb2.Identity``."""
        from flyteidl.core import security_pb2

        return security_pb2.Identity(
            iam_role=self.iam_role or None,
            k8s_service_account=self.k8s_service_account or None,
            oauth2_client=self.oauth2_client.to_flyte_idl() if self.oauth2_client else None,
            execution_identity=self.execution_identity or None,
        )

    @classmethod
    def from_flyte_idl(cls, pb2_object: Any) -> Identity:
        """Return the value of a protobuf; what is empty there is None here."""
        client = pb2_object.oauth2_client if pb2_object.HasField("oauth2_client") else None
        return cls(
            iam_role=pb2_object.iam_role or None,
            k8s_service_account=pb2_object.k8s_service_account or None,
            oauth2_client=OAuth2Client.from_flyte_idl(client) if client is not None else None,
            execution_identity=pb2_object.execution_identity or None,
        )


@dataclass(frozen=True, slots=True)
class OAuth2TokenRequest(IdlForm):
    """A token that is fetched for the task."""

    name: str
    client: OAuth2Client
    idp_discovery_endpoint: str | None = None
    token_endpoint: str | None = None

    def to_flyte_idl(self) -> Any:
        """Return the ``flyteidl.core.security_pb2.OAuth2TokenRequest``."""
        from flyteidl.core import security_pb2

        return security_pb2.OAuth2TokenRequest(
            name=self.name,
            client=self.client.to_flyte_idl(),
            idp_discovery_endpoint=self.idp_discovery_endpoint,
            token_endpoint=self.token_endpoint,
        )

    @classmethod
    def from_flyte_idl(cls, pb2_object: Any) -> OAuth2TokenRequest:
        """Return the value of a protobuf."""
        return cls(
            name=pb2_object.name,
            client=OAuth2Client.from_flyte_idl(pb2_object.client),
            idp_discovery_endpoint=pb2_object.idp_discovery_endpoint or None,
            token_endpoint=pb2_object.token_endpoint or None,
        )


@dataclass(frozen=True, slots=True)
class SecurityContext(IdlForm):
    """Secrets, tokens and identity of a task; a single secret or token may be given without a list."""

    run_as: Identity | None = None
    secrets: Sequence[Secret] | None = None
    tokens: Sequence[OAuth2TokenRequest] | None = None

    def __post_init__(self) -> None:
        for name in ("secrets", "tokens"):
            value = getattr(self, name)
            if isinstance(value, IdlForm):
                object.__setattr__(self, name, (value,))
            elif value is not None:
                object.__setattr__(self, name, tuple(value))

    def to_flyte_idl(self) -> Any:
        """Return the ``flyteidl.core.security_pb2.SecurityContext``, None when nothing is asked for."""
        from flyteidl.core import security_pb2

        if self.run_as is None and self.secrets is None and self.tokens is None:
            return None
        return security_pb2.SecurityContext(
            run_as=self.run_as.to_flyte_idl() if self.run_as else None,
            secrets=[one.to_flyte_idl() for one in self.secrets or ()],
            tokens=[one.to_flyte_idl() for one in self.tokens or ()],
        )

    @property
    def is_empty(self) -> bool:
        """Whether nothing is asked for."""
        return not (self.run_as or self.secrets or self.tokens)

    @classmethod
    def from_flyte_idl(cls, pb2_object: Any) -> SecurityContext:
        """Return the value of a protobuf; what is empty there is None here."""
        return cls(
            run_as=Identity.from_flyte_idl(pb2_object.run_as) if pb2_object.run_as.ByteSize() else None,
            secrets=[Secret.from_flyte_idl(one) for one in pb2_object.secrets] or None,
            tokens=[OAuth2TokenRequest.from_flyte_idl(one) for one in pb2_object.tokens] or None,
        )
