"""A registry for one repository that keeps what it is sent, behind a line that is cut where the test says."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

from tests.fakes.scripted import Conversation, answer

__all__ = ["Lossy"]


class Lossy:
    """A move that uploads and reads blobs properly.

    ``cut_at`` is asked for each body and says after how many of its bytes the line is cut (None: not at all);
    ``cut_answer`` likewise whether the answer to a request gets lost. With ``forgets`` a cut upload is gone.
    """

    def __init__(
        self,
        cut_at: Callable[[int], int | None] = lambda size: None,
        *,
        cut_answer: Callable[[str], bool] = lambda method: False,
        forgets: bool = False,
        max_body_bytes: int | None = None,
    ) -> None:
        self.blobs: dict[str, bytes] = {}
        self._sessions: dict[str, bytes] = {}
        self._cut_at = cut_at
        self._cut_answer = cut_answer
        self._forgets = forgets
        self._max_body_bytes = max_body_bytes
        self._lock = threading.Lock()

    @property
    def open_sessions(self) -> int:
        """How many uploads were neither finished nor dropped."""
        return len(self._sessions)

    def __call__(self, talk: Conversation) -> bool:
        """Answer one request."""
        with self._lock:
            if "/blobs/uploads/" in talk.target:
                return self._upload(talk)
            return self._blob(talk)

    def _blob(self, talk: Conversation) -> bool:
        data = self.blobs.get(talk.target.rpartition("/")[2])
        if data is None:
            return answer(404, {}, b'{"errors":[{"code":"BLOB_UNKNOWN"}]}')(talk)
        start = int(talk.headers.get("range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        part = data[start:]
        fields = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if start else {}
        limit = self._cut_at(len(part)) if talk.method == "GET" else None
        if limit is None:
            return answer(206 if start else 200, fields, part)(talk)
        answer(206 if start else 200, fields, part[:limit], length=len(part))(talk)
        talk.reset()
        return False

    def _upload(self, talk: Conversation) -> bool:
        parts = urlsplit(talk.target)
        name = parts.path.rpartition("/")[2]
        if talk.method == "POST":
            name = f"u{len(self._sessions) + len(self.blobs)}-{id(talk)}"
            self._sessions[name] = b""
        elif name not in self._sessions:
            return answer(404, {}, b'{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}')(talk)
        if talk.method == "DELETE":
            del self._sessions[name]
            return answer(204)(talk)
        return self._receive(talk, name, parse_qs(parts.query).get("digest", [""])[0])

    def _receive(self, talk: Conversation, name: str, digest: str) -> bool:
        if self._max_body_bytes is not None and talk.length > self._max_body_bytes:
            return answer(413)(talk)
        limit = self._cut_at(talk.length) if talk.length else None
        talk.receive(limit)
        self._sessions[name] += talk.body
        if limit is not None:
            if self._forgets:
                del self._sessions[name]
            talk.reset()
            return False
        move = self._finish(name, digest) if digest else self._state(talk, name)
        if self._cut_answer(talk.method):
            talk.reset()
            return False
        return move(talk)

    def _finish(self, name: str, digest: str) -> Callable[[Conversation], bool]:
        data = self._sessions.pop(name)
        if f"sha256:{hashlib.sha256(data).hexdigest()}" != digest:
            return answer(400, {}, b'{"errors":[{"code":"DIGEST_INVALID"}]}')
        self.blobs[digest] = data
        return answer(201, {"Docker-Content-Digest": digest})

    def _state(self, talk: Conversation, name: str) -> Callable[[Conversation], bool]:
        fields = {"Location": f"/v2/x/y/blobs/uploads/{name}", "Range": f"0-{max(0, len(self._sessions[name]) - 1)}"}
        return answer(204 if talk.method == "GET" else 202, fields)
