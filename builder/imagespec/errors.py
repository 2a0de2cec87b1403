"""Every error that imagespec raises, as types.

    ImageSpecError                      .hint  .exit_code  .transient
    ├─ SpecError (ValueError)           2   .path, for example "packages[3]"
    │    ├─ InvalidReference
    │    ├─ Unsupported                     .builder .field
    │    └─ NoFlyteTag
    ├─ InputError                       2   .path
    │    ├─ InputMissing
    │    ├─ InputOutsideRoot
    │    ├─ InputChanged
    │    └─ ImportFailed                    .traceback
    ├─ SettingsError                    2   .variable
    ├─ RegistryError                    3   .action .url .status .codes .retry_after_s
    │    ├─ RegistryUnreachable             transient
    │    │    └─ RegistryUntrusted          not transient
    │    ├─ TooManyRequests                 transient
    │    ├─ Unauthorized
    │    ├─ Denied
    │    ├─ WrongPlatform                   .wanted .found
    │    └─ ProtocolViolation
    ├─ EngineError                      4
    │    ├─ EngineUnavailable
    │    ├─ BuildFailed                     .step .exit_status .log_tail
    │    └─ TaskFailed                      .exit_status .log_tail
    ├─ IntegrityError                   5
    └─ Cancelled                        130

Wording: ``action: what happened``, lower case; the way out is the ``hint``. No error carries a secret: URLs are
redacted by whoever raises it.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "BuildFailed",
    "Cancelled",
    "Denied",
    "EngineError",
    "EngineUnavailable",
    "ImageSpecError",
    "ImportFailed",
    "InputChanged",
    "InputError",
    "InputMissing",
    "InputOutsideRoot",
    "IntegrityError",
    "InvalidReference",
    "NoFlyteTag",
    "ProtocolViolation",
    "RegistryError",
    "RegistryUnreachable",
    "RegistryUntrusted",
    "SettingsError",
    "SpecError",
    "TaskFailed",
    "TooManyRequests",
    "Unauthorized",
    "Unsupported",
    "WrongPlatform",
]


class ImageSpecError(Exception):
    """What went wrong, and in ``hint`` the way out ("" when there is none to give)."""

    exit_code: ClassVar[int] = 1
    transient: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class SpecError(ImageSpecError, ValueError):
    """A declaration that is not valid; ``path`` names the field, for example ``packages[3]``."""

    exit_code: ClassVar[int] = 2

    def __init__(self, message: str, *, path: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.path = path


class InvalidReference(SpecError):
    """A registry, repository, tag or digest that the OCI Distribution grammar does not allow."""


class Unsupported(SpecError):
    """A valid field that this builder does not carry out."""

    def __init__(self, message: str, *, builder: str, field: str, hint: str = "") -> None:
        super().__init__(message, path=field, hint=hint)
        self.builder = builder
        self.field = field


class NoFlyteTag(SpecError):
    """flytekit's own tag of the spec depends on luck, or does not see what the image holds; ``path`` is the field."""


class InputError(ImageSpecError):
    """A file that the declaration names; ``path`` is as the user wrote it, or relative to the source root."""

    exit_code: ClassVar[int] = 2

    def __init__(self, message: str, *, path: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.path = path


class InputMissing(InputError):
    """The file or folder is not there."""


class InputOutsideRoot(InputError):
    """The path, or what a link points to, lies outside the folder it may be taken from."""


class InputChanged(InputError):
    """The file changed between the moment it was hashed and the moment it was read for the build."""


class ImportFailed(InputError):
    """The user's own module raised, hung or crashed when it was imported; ``traceback`` holds its lines."""

    def __init__(self, message: str, *, path: str, traceback: tuple[str, ...] = (), hint: str = "") -> None:
        super().__init__(message, path=path, hint=hint)
        self.traceback = traceback


class SettingsError(ImageSpecError):
    """A setting (environment variable or configuration key, named in ``variable``) that is not valid."""

    exit_code: ClassVar[int] = 2

    def __init__(self, message: str, *, variable: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.variable = variable


class RegistryError(ImageSpecError):
    """A registry did not do what was asked: ``action`` says what, ``url`` where (redacted).

    ``codes`` are the OCI error codes, ``retry_after_s`` the seconds that the registry asked to wait (None: unsaid).
    """

    exit_code: ClassVar[int] = 3

    def __init__(
        self,
        message: str,
        *,
        action: str = "",
        url: str = "",
        status: int | None = None,
        codes: tuple[str, ...] = (),
        retry_after_s: float | None = None,
        hint: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.action = action
        self.url = url
        self.status = status
        self.codes = codes
        self.retry_after_s = retry_after_s


class RegistryUnreachable(RegistryError):
    """No answer: name resolution, connection, TLS, time-out, or 5xx after all attempts."""

    transient: ClassVar[bool] = True


class RegistryUntrusted(RegistryUnreachable):
    """Its certificate is not trusted, or it does not speak TLS: asking again changes nothing."""

    transient: ClassVar[bool] = False


class TooManyRequests(RegistryError):
    """429, or the same under another status, after all attempts."""

    transient: ClassVar[bool] = True


class Unauthorized(RegistryError):
    """401: no credentials, or not these."""


class Denied(RegistryError):
    """403: known, but not allowed."""


class WrongPlatform(RegistryError):
    """The reference exists, but not for every platform that is wanted."""

    def __init__(
        self,
        message: str,
        *,
        wanted: tuple[str, ...],
        found: tuple[str, ...],
        action: str = "",
        url: str = "",
        hint: str = "",
    ) -> None:
        super().__init__(message, action=action, url=url, hint=hint)
        self.wanted = wanted
        self.found = found


class ProtocolViolation(RegistryError):
    """An answer that the OCI Distribution specification does not allow."""


class EngineError(ImageSpecError):
    """The build engine could not do its work."""

    exit_code: ClassVar[int] = 4


class EngineUnavailable(EngineError):
    """No engine answers, or it lacks what the build needs (buildx)."""


class BuildFailed(EngineError):
    """A step failed: ``step`` names it, ``log_tail`` holds the last lines of its output."""

    def __init__(
        self,
        message: str,
        *,
        step: str = "",
        exit_status: int | None = None,
        log_tail: tuple[str, ...] = (),
        hint: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.step = step
        self.exit_status = exit_status
        self.log_tail = log_tail


class TaskFailed(EngineError):
    """A container task ended otherwise than well: ``exit_status`` is None when it was stopped at its time-out."""

    def __init__(
        self, message: str, *, exit_status: int | None = None, log_tail: tuple[str, ...] = (), hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.exit_status = exit_status
        self.log_tail = log_tail


class IntegrityError(ImageSpecError):
    """Bytes that are not what their digest says."""

    exit_code: ClassVar[int] = 5


class Cancelled(ImageSpecError):
    """The user, or the caller, asked to stop."""

    exit_code: ClassVar[int] = 130

    def __init__(self, message: str, *, hint: str = "start it again to go on") -> None:
        super().__init__(message, hint=hint)
