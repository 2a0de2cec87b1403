"""A client whose time does not pass, against a registry that misbehaves by script."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from imagespec.registry.auth import CredentialSource
from imagespec.registry.hosts import Limits, Network
from imagespec.registry.http import HttpRegistry
from tests.fakes.scripted import Move, Scripted, SlidingClock

LIMITS = Limits(
    connect_s=0.5, read_s=0.4, operation_s=60.0, attempts=3, settle_attempts=3, backoff_s=1.0, backoff_max_s=10.0
)


@pytest.fixture
def clock() -> SlidingClock:
    return SlidingClock()


@pytest.fixture
def serve() -> Iterator[Callable[..., Scripted]]:
    """Starts scripted registries, and stops them with the test."""
    with ExitStack() as stack:

        def start(*moves: Move, then: Move | None = None, tls: ssl.SSLContext | None = None) -> Scripted:
            return stack.enter_context(Scripted(moves, then, tls))

        yield start


@pytest.fixture
def client(clock: SlidingClock) -> Iterator[Callable[..., HttpRegistry]]:
    """Makes clients with short limits; waiting takes no time and is written down in ``clock``."""
    with ExitStack() as stack:

        def make(
            network: Network | None = None, credentials: CredentialSource | None = None, limits: Limits = LIMITS
        ) -> HttpRegistry:
            registry = HttpRegistry(
                network=network or Network(limits=limits),
                credentials=credentials,
                clock=clock.now,
                sleep=clock.sleep,
                jitter=lambda: 0.0,
            )
            return stack.enter_context(registry)

        yield make
