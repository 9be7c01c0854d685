"""MLflow's model registry: the one file that imports MLflow, and only when somebody asks for it.

MLflow is the extra ``edgewright-controller[mlflow]``: its skinny client, and alembic for stores in databases.
It reports usage to its makers unless told not to, so it is told by both of its documented switches before it
is imported, whatever the surroundings say. Only the client's own calls are used, never the fluent ones, which
would write the paths and the user of this machine into a run.

What its stores raise is what their own backends raise; all of it ends here as E113.
"""

import importlib
import importlib.util
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import Any, Final

import msgspec

from edgewright.controller.errors import ExchangeError
from edgewright.controller.exchange.references import Reference, verify_source

SWITCHES: Final = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
"""https://mlflow.org/docs/latest/community/usage-tracking.html"""

QUIET: Final = {"MLFLOW_LOGGING_LEVEL": "ERROR", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}
"""What it says of itself is no output of ours."""

OWN_TAGS: Final = "mlflow."
"""Tags that MLflow sets by itself begin with this: the user, a script's path, whole logs. None is taken."""

EXPERIMENT: Final = "edgewright"
FOLDER: Final = "model"
MOST_DESCRIPTION: Final = 5000
"""Characters of a version's description; MLflow's database takes no more."""

MOST_TAGS, MOST_TAG_NAME, MOST_TAG_VALUE, MOST_METRICS = 100, 64, 256, 200


class Fetched(msgspec.Struct, frozen=True):
    """A version of the registry, and its files in a folder of this machine."""

    model: str
    version: str
    run: str
    description: str
    metrics: dict[str, float]
    tags: dict[str, str]
    files: dict[str, Path]


class Registration(msgspec.Struct, frozen=True):
    """A version of ours, as it shall stand there; its artifacts and its card lie in ``folder``."""

    model: str
    description: str
    folder: Path
    identity: dict[str, str]
    """Tags that say which version of ours it is: a second registration finds the first by them."""
    tags: dict[str, str] = {}
    metrics: dict[str, float] = {}
    aliases: tuple[str, ...] = ()


class MlflowRegistry:
    """One tracking server, or a database that stands for one.

    Args:
        address: of tracking and registry, as MLflow writes it.

    Raises:
        ExchangeError: MLflow is not installed, or the address is none.
    """

    def __init__(self, address: str) -> None:
        os.environ.update(SWITCHES | QUIET)
        logging.getLogger("alembic").setLevel(logging.ERROR)
        try:
            self._mlflow: Any = importlib.import_module("mlflow")
        except ImportError as error:
            raise ExchangeError("MLflow is not installed here.") from error
        self._address = address
        with _foreign():
            self._mlflow.set_tracking_uri(address)
            self._mlflow.set_registry_uri(address)
            self._client: Any = self._mlflow.MlflowClient(address, address)

    def fetch(self, wanted: Reference, folder: Path) -> Fetched:
        """Download a version's files into ``folder``.

        Raises:
            ExchangeError: there is no such version, or it cannot be read.
        """
        with _foreign():
            version = self._find(wanted)
            source = self._client.get_model_version_download_uri(version.name, version.version)
            verify_source(self._address, source)
            downloads = importlib.import_module("mlflow.artifacts")
            place = Path(downloads.download_artifacts(artifact_uri=source, dst_path=str(folder)))
            metrics = self._metrics(version.run_id)
        found = [place] if place.is_file() else sorted(p for p in place.rglob("*") if p.is_file())
        top = place.parent if place.is_file() else place
        return Fetched(
            model=version.name,
            version=str(version.version),
            run=version.run_id or "",
            description=version.description or "",
            metrics=metrics,
            tags=_taken(version.tags),
            files={path.relative_to(top).as_posix(): path for path in found},
        )

    def register(self, wanted: Registration) -> tuple[str, bool]:
        """Register a version of ours; returns its number there, and whether it is new.

        One that is there already is found by its identity. Its aliases are moved in any case.

        Raises:
            ExchangeError: it cannot be registered.
        """
        with _foreign():
            number = self._known(wanted)
            is_new = not number
            if is_new:
                number = self._add(wanted)
            for alias in wanted.aliases:
                self._client.set_registered_model_alias(wanted.model, alias, number)
        return number, is_new

    def _find(self, wanted: Reference) -> Any:
        if wanted.alias:
            return self._client.get_model_version_by_alias(wanted.model, wanted.alias)
        if wanted.version:
            return self._client.get_model_version(wanted.model, wanted.version)
        found = self._client.search_model_versions(_named(wanted.model))
        if not found:
            raise ExchangeError(f"There is no registered model {wanted.model!r} with a version.")
        return max(found, key=lambda version: int(version.version))

    def _metrics(self, run: str) -> dict[str, float]:
        if not run:
            return {}
        try:
            found: Mapping[str, float] = self._client.get_run(run).data.metrics
        except self._mlflow.MlflowException:
            # A run may be deleted, and its registered version stays.
            return {}
        kept = [(n, v) for n, v in sorted(found.items()) if isfinite(v) and len(n) <= MOST_TAG_NAME]
        return dict(kept[:MOST_METRICS])

    def _known(self, wanted: Registration) -> str:
        for version in self._client.search_model_versions(_named(wanted.model)):
            if wanted.identity.items() <= dict(version.tags).items():
                return str(version.version)
        return ""

    def _add(self, wanted: Registration) -> str:
        client = self._client
        experiment = client.get_experiment_by_name(EXPERIMENT)
        number = experiment.experiment_id if experiment else client.create_experiment(EXPERIMENT)
        tags = {**wanted.tags, **wanted.identity}
        run = client.create_run(number, tags=tags, run_name=" ".join(wanted.identity.values()))
        for name, value in sorted(wanted.metrics.items()):
            client.log_metric(run.info.run_id, name, value)
        client.log_artifacts(run.info.run_id, str(wanted.folder), FOLDER)
        client.set_terminated(run.info.run_id)
        if not client.search_registered_models(_named(wanted.model)):
            client.create_registered_model(wanted.model)
        made = client.create_model_version(
            wanted.model,
            source=f"{run.info.artifact_uri}/{FOLDER}",
            run_id=run.info.run_id,
            tags=tags,
            description=wanted.description[:MOST_DESCRIPTION],
        )
        return str(made.version)


def installed() -> bool:
    """Whether the extra is here."""
    return importlib.util.find_spec("mlflow") is not None


def _named(model: str) -> str:
    """A search for a model by its name, which ours and ``read_reference`` keep free of quotes.

    Raises:
        ExchangeError: it has one.
    """
    if "'" in model:
        raise ExchangeError(f"{model[:80]!r} is no name of a registered model that can be asked for.")
    return f"name='{model}'"


def _taken(tags: Mapping[str, Any]) -> dict[str, str]:
    """Tags that people gave, as far as they are short."""
    own = {str(name): str(value) for name, value in sorted(tags.items()) if not name.startswith(OWN_TAGS)}
    short = [(n, v) for n, v in own.items() if len(n) <= MOST_TAG_NAME and len(v) <= MOST_TAG_VALUE]
    return dict(short[:MOST_TAGS])


@contextmanager
def _foreign() -> Iterator[None]:
    try:
        yield
    except ExchangeError:
        raise
    # A store raises what its own backend raises: MlflowException, SQLAlchemy's, requests', boto's.
    except Exception as error:
        said = " ".join(str(error).split())[:200]
        raise ExchangeError(f"MLflow's registry said: {said or type(error).__name__}.") from error
