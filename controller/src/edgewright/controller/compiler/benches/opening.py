"""Which bench a target has."""

from edgewright.controller.compiler.benches.child import ChildBench
from edgewright.controller.compiler.benches.ort_bench import OrtBench
from edgewright.controller.compiler.benches.seam import Bench
from edgewright.controller.compiler.targets import Target


def open_bench(target: Target, *, batches: bool = False) -> Bench:
    """The target's runtime on this machine; use it as a context manager.

    Args:
        target: whose runtime.
        batches: see ``Subject.batches``.

    Raises:
        ToolchainMissingError: the environment with this runtime is not installed.
    """
    if not target.environment:
        return OrtBench(target.runtime.provider, batches=batches)
    return ChildBench(target)
