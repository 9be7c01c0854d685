import pytest

from edgewright.agent.runner.runtimes import load_session
from edgewright.wire.errors import PlacementError
from tests.agent.tiny_models import golden_bytes, make_manifest
from tests.fallback_cases import Case, honest, liars

_EVERY = 5
"""`bench_fallback` tries all of them, in processes of their own."""


@pytest.mark.parametrize("case", list(liars({}))[::_EVERY], ids=lambda case: case.name)
def test_what_would_run_elsewhere_is_refused(case: Case) -> None:
    """A model that would not run where its manifest says is refused, in full or in part."""
    manifest = make_manifest(case.artifact, golden_bytes(), runtime=case.runtime)
    with pytest.raises(PlacementError):
        load_session(case.artifact, manifest, threads=1)


@pytest.mark.parametrize("case", list(honest({}))[::_EVERY], ids=lambda case: case.name)
def test_what_runs_where_its_manifest_says_is_loaded(case: Case) -> None:
    """The check refuses no honest model, and the session tells how far the provider took it."""
    manifest = make_manifest(case.artifact, golden_bytes(), runtime=case.runtime)
    placement = load_session(case.artifact, manifest, threads=1).placement()
    assert placement[case.runtime.provider] >= case.runtime.placed * sum(placement.values())
