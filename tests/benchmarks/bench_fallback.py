"""Silent fallback: models that would run elsewhere than their manifest says, and how many were let through.

Each goes through both gates of a device, as real processes: the qualification, and a runner that is told to
serve. One that either lets through counts as accepted. As a control, honest models go the same way, and each
that is refused is named; a check that refuses everything would look perfect otherwise.
"""

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from edgewright.agent.environments import Environments
from edgewright.agent.line.runnerprocess import RunnerProcess
from edgewright.agent.qualifier import qualify
from edgewright.wire.errors import EdgewrightError, GoldenMismatchError, PlacementError
from edgewright.wire.manifest import Manifest, encode_manifest
from tests.agent.tiny_models import golden_bytes, make_manifest
from tests.environments import find_environments
from tests.fallback_cases import Case, honest, liars

_PATIENCE_SECONDS: Final = 60.0

# An honest model with other operators behind it has other outputs than the golden ones; it was loaded, and
# where it runs was found right, before they are compared.
_PLACED: Final = (0, GoldenMismatchError.number)


def run() -> list[dict[str, Any]]:
    """One row: how many of the liars were accepted."""
    environments = find_environments()
    with TemporaryDirectory() as folder:
        lying = [(case, *_gates(Path(folder), case, environments)) for case in liars(environments)]
        control = [(case, *_gates(Path(folder), case, environments)) for case in honest(environments)]
    accepted = [case.name for case, *refusals in lying if not all(refusals)]
    return [
        {
            "name": "silent_fallback_accepted",
            "value": len(accepted),
            "unit": "models",
            "peer": None,
            "peer_value": None,
            "ratio": None,
            "tried": len(lying),
            "refused_as_placement": sum(refusals == [PlacementError.number] * 2 for _, *refusals in lying),
            "accepted": accepted,
            "honest_tried": len(control),
            "honest_refused": [case.name for case, *refusals in control if any(refusals)],
            "environments": sorted(environments),
        }
    ]


def _gates(folder: Path, case: Case, environments: Environments) -> tuple[int, int]:
    """Numbers of the errors by which qualification and runner refused it, 0 for none."""
    manifest = make_manifest(case.artifact, golden_bytes(), runtime=case.runtime)
    paths = [folder / name for name in ("manifest", "artifact", "golden")]
    for path, content in zip(paths, (encode_manifest(manifest), case.artifact, golden_bytes()), strict=True):
        path.write_bytes(content)
    result = qualify(paths[0], paths[1], paths[2], b"", lambda: False, environments=environments, threads=1)
    qualified = 0 if result.error in _PLACED else result.error
    return qualified, _served(manifest, paths[0], paths[1], environments)


def _served(manifest: Manifest, manifest_path: Path, artifact: Path, environments: Environments) -> int:
    runner = RunnerProcess(manifest, manifest_path, artifact, environments=environments)
    try:
        ready = runner.wait(time.monotonic() + _PATIENCE_SECONDS)
    except EdgewrightError as error:
        return error.number
    finally:
        runner.kill()
    if not ready:
        raise TimeoutError(f"A runner was not ready within {_PATIENCE_SECONDS:.0f} s.")
    return 0
