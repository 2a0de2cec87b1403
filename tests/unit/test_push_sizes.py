"""What was pushed of what was built: exact where we push, a bound where an engine does."""

from __future__ import annotations

from imagespec.builders import BuildOptions
from imagespec.endings import Ending
from imagespec.ensure import BuildRequest
from imagespec.errors import Cancelled, RegistryUnreachable
from imagespec.events import BytesMoved, Emit, InImage
from imagespec.names import Reference
from imagespec.oci import Descriptor
from imagespec.plan import BuildPlan
from imagespec.push_sizes import PushSizes, push_sizes
from imagespec.registry.copies import copy_image
from imagespec.report.recorder import Recorder
from imagespec.snapshot import Files
from tests.fakes.builder import FakeBuilder
from tests.unit.test_batch import World


class Measured(World):
    """A world whose runs are recorded and measured."""

    def __init__(self) -> None:
        super().__init__()
        self.recorder = Recorder(lambda event: None, clock=lambda: 0.0)

    def sizes(self, *requests: BuildRequest, earlier: tuple[Reference, ...] = ()) -> PushSizes | None:
        return self.sizes_of(self.ensure_recorded(*requests), earlier)

    def ensure_recorded(self, *requests: BuildRequest) -> tuple[Ending, ...]:
        self.recorder = Recorder(lambda event: None, clock=lambda: 0.0)
        self.events = Recorded(self.recorder)
        return self.ensure(*requests)

    def sizes_of(self, endings: tuple[Ending, ...], earlier: tuple[Reference, ...] = ()) -> PushSizes | None:
        return push_sizes(
            endings, self.recorder.images, earlier=lambda request: earlier, locate=lambda reference: reference
        )


class Recorded(list):  # type: ignore[type-arg]
    """A list of events that a recorder hears, too."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.append = recorder  # type: ignore[method-assign,assignment]


class Named(FakeBuilder):
    """The same under the name of the builder that pushes by itself."""

    name = "daemonless"


class Sharing(FakeBuilder):
    """A builder whose images all have the same layers."""

    def build(
        self, plan: BuildPlan, files: Files, target: Reference, *, options: BuildOptions, emit: Emit
    ) -> Descriptor:
        if not self.built:
            return super().build(plan, files, target, options=options, emit=emit)
        return copy_image(self._registry, self.built[0][0], self._registry, target)


def test_what_an_engine_built_counts_as_pushed_but_for_the_parents_layers_and_those_of_earlier_images() -> None:
    world = Measured()
    world.builder = Sharing(world.registry)
    parent = world.request("p")
    child = world.request("c", parent)
    sizes = world.sizes(child, parent)
    assert sizes is not None
    assert (sizes.pushed_bytes, sizes.is_exact) == (sizes.total_bytes, False)
    assert sizes.line.endswith("at most 0.0 MB of them pushed, at least 0.0 MB reused")
    again = world.sizes(world.request("c", parent, env={"A": "1"}))
    assert again is not None
    assert (again.pushed_bytes, again.total_bytes) == (0, sizes.total_bytes)
    other = world.sizes(world.request("p", env={"B": "1"}), earlier=(parent.reference,))
    assert other is not None
    assert other.pushed_bytes == 0


def test_what_we_pushed_is_told_exactly() -> None:
    world = Measured()
    world.builder = Named(world.registry)
    request = world.request("ours")
    endings = world.ensure_recorded(request)
    moved = BytesMoved(step="push", title="push to r.test/ours", done_bytes=3)
    world.recorder(InImage(image=request.name, event=moved))
    sizes = world.sizes_of(endings)
    assert sizes is not None
    assert (sizes.pushed_bytes, sizes.is_exact) == (3, True)
    assert "at most" not in sizes.line


def test_nothing_is_told_of_a_run_that_built_nothing_or_lost_its_registry() -> None:
    world = Measured()
    request, lost = world.request("x"), world.request("y", env={"A": "1"})
    endings = world.ensure_recorded(request)
    assert world.sizes_of(endings) is not None
    gone = Ending(request=lost, error=RegistryUnreachable("look up: no answer"))
    assert world.sizes_of((*endings, gone)) is None
    stopped = Ending(request=lost, error=Cancelled("build: stopped"))
    assert world.sizes_of((*endings, stopped)) is None
    assert world.sizes_of(world.ensure_recorded(request)) is None
