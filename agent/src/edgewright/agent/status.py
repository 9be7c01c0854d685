"""What this device holds and what waits, in lines: read-only, and safe beside a running agent."""

import time

from edgewright.agent.database import Database
from edgewright.agent.journal import Deployment, Journal
from edgewright.agent.outboxtable import WAITING
from edgewright.agent.settings import Settings


def describe(settings: Settings) -> list[str]:
    """Status in lines: slots, the newest deployments, what waits.

    Raises:
        ConfigurationError: there is no journal yet, or it cannot be read.
    """
    database = Database(settings.database, read_only=True)
    journal = Journal(database)
    record = journal.device()
    lines = [f"device      {settings.device} ({settings.target})", f"assignment  {record.version}"]
    for slot, held in journal.slots().items():
        marker = "active" if slot == record.active else "standby"
        lines.append(f"slot {slot}      {release_name(held) if held else 'empty'} ({marker})")
    for deployment in journal.deployments(5):
        trouble = f", E{deployment.error:03d} {deployment.detail}" if deployment.error else ""
        fetched = f", {deployment.fetched_bytes} bytes fetched" if deployment.fetched_bytes else ""
        lines.append(
            f"deployment  {release_name(deployment)}: {deployment.state} "
            f"{_ago(deployment.updated_at)}{fetched}{trouble}"
        )
    (waiting,) = database.connection.execute(WAITING).fetchone()
    lines.append(f"outbox      {waiting} messages wait for the controller")
    database.close()
    return lines


def release_name(deployment: Deployment) -> str:
    """A release as a person says it."""
    return f"{deployment.release.model} {deployment.release.version}"


def _ago(then: float) -> str:
    return f"{max(0.0, time.time() - then):.0f} s ago"
