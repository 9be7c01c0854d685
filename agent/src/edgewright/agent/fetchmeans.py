"""What versions are fetched with, as the settings say: transport, policy, budget and time zone.

One transport by configuration, and no other in its place where it fails: a site that chose HTTPS did so
because its broker refuses large messages, and one that did not may have no way to the door.
"""

from collections.abc import Callable
from typing import Final

from edgewright.agent.attempt import Means, Policy
from edgewright.agent.budget import FILE_NAME, Budget
from edgewright.agent.chunks import ChunkReader, TopicChunks
from edgewright.agent.identity import Identity
from edgewright.agent.schedule import device_zone, parse_window
from edgewright.agent.settings import Settings, UpdateSettings
from edgewright.agent.store import Store
from edgewright.agent.subscriber import Subscriber
from edgewright.agent.transfer import Limits

_MIB: Final = 1024 * 1024


def policy_of(update: UpdateSettings) -> Policy:
    """When and how fast the settings let versions be fetched."""
    limits = Limits(
        window=update.window_chunks,
        slowest=update.slowest_bytes_per_second,
        seconds=update.version_hours * 3600,
    )
    return Policy(limits, tuple(map(parse_window, update.windows)), update.urgent_kb * 1024)


def means_of(
    settings: Settings, link: Subscriber, store: Store, want: Callable[[tuple[str, ...]], None]
) -> Means:
    """What every try of this device works with.

    Args:
        settings: the agent's.
        link: to the broker.
        store: where chunks go.
        want: asks the controller to publish chunks again; called on the worker's thread.
    """
    update = settings.update
    budget = Budget(settings.folder / FILE_NAME, update.day_mb * _MIB)
    return Means(_chunks(settings, link), store, policy_of(update), budget, want, device_zone())


def _chunks(settings: Settings, link: Subscriber) -> ChunkReader:
    if settings.update.transport == "mqtt":
        return TopicChunks(link)
    from edgewright.agent.rangechunks import RangeChunks  # a device on MQTT has no use for it

    # The identity is read with each connection: a renewed certificate is shown by the next one.
    return RangeChunks(settings.door, lambda: Identity.load(settings.folder).tls_context())
