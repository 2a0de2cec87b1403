"""Many requests as a graph: equal plans are one node, however they are called, and parents come before children."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from imagespec.ensure import BuildRequest
from imagespec.values import dataclass, replace

__all__ = ["Graph", "Node", "graph_of", "key_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One plan. ``requests`` are its distinct names, the first being the one that is built; ``parent`` is a key or "".

    ``is_wanted`` tells what was asked for from what is there only because something is based on it.
    """

    key: str
    requests: tuple[BuildRequest, ...]
    parent: str = ""
    is_wanted: bool = False

    @property
    def first(self) -> BuildRequest:
        """The request that is built; the others are tagged after it."""
        return self.requests[0]

    @property
    def is_forced(self) -> bool:
        """Whether one of its names asks for a build even when the image exists."""
        return any(request.is_forced for request in self.requests)


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """Nodes by key, every parent before its children."""

    nodes: Mapping[str, Node]

    def ancestors(self, key: str) -> Iterator[Node]:
        """Yield the node's parent, its parent's parent, and so on."""
        parent = self.nodes[key].parent
        while parent:
            yield self.nodes[parent]
            parent = self.nodes[parent].parent

    def children(self, key: str) -> Iterator[Node]:
        """Yield the nodes that are based directly on this one."""
        return (node for node in self.nodes.values() if node.parent == key)


def graph_of(requests: Iterable[BuildRequest]) -> Graph:
    """Return the graph of the requests and of everything that they are based on."""
    named: dict[str, list[BuildRequest]] = {}
    seen: dict[str, BuildRequest] = {}
    for request in requests:
        for one in _lineage(request):
            named.setdefault(key_of(one), [])
            seen.setdefault(key_of(one), one)
        named[key_of(request)].append(request)
    nodes = (
        Node(
            key=key,
            requests=_distinct(wanted or [seen[key]]),
            parent=key_of(parent) if (parent := seen[key].parent) is not None else "",
            is_wanted=bool(wanted),
        )
        for key, wanted in named.items()
    )
    return Graph(nodes={node.key: node for node in nodes})


def key_of(request: BuildRequest) -> str:
    """Return what two requests share when one build serves both.

    Images outside of a registry cannot be copied to another name, so each of their names is a node of its own.
    """
    digest = str(request.fingerprint.digest)
    return digest if request.registry is not None else f"{digest} {request.reference}"


def _lineage(request: BuildRequest) -> Iterator[BuildRequest]:
    if request.parent is not None:
        yield from _lineage(request.parent)
    yield request


def _distinct(requests: list[BuildRequest]) -> tuple[BuildRequest, ...]:
    """Return one request a reference; it is forced when one of them is."""
    names: dict[object, BuildRequest] = {}
    for request in requests:
        known = names.setdefault(request.reference, request)
        if request.is_forced and not known.is_forced:
            names[request.reference] = replace(known, is_forced=True)
    return tuple(names.values())
