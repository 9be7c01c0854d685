"""What processes keep resident, read from ``/proc/<pid>/smaps``."""

import re
from pathlib import Path
from typing import Final, NamedTuple

from tests.agent.agent_rig import AgentRig

_MAPPING: Final = re.compile(r"[0-9a-f]+-[0-9a-f]+ \S+ (\S+) (\S+ \d+) *(.*)")


class Memory(NamedTuple):
    """Resident memory of one process in KiB.

    Attributes:
        rss, pss: resident and proportional set size.
        anonymous: pages that are of no file.
        files: pages of files, by file and offset.
    """

    rss: int
    pss: int
    anonymous: int
    files: dict[str, int]


def memory_of(pid: int) -> Memory:
    """Of one process.

    Raises:
        OSError: it has ended.
    """
    totals = {"Rss": 0, "Pss": 0, "Anonymous": 0}
    files: dict[str, int] = {}
    file = ""
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if mapping := _MAPPING.match(line):
            file = " ".join(mapping.groups())
            continue
        name, _, rest = line.partition(":")
        if name in totals:
            kib = int(rest.split()[0])
            totals[name] += kib
            files[file] = files.get(file, 0) + {"Rss": kib, "Pss": 0, "Anonymous": -kib}[name]
    return Memory(totals["Rss"], totals["Pss"], totals["Anonymous"], files)


def memory_of_agent(agent: AgentRig) -> dict[str, Memory]:
    """Of each of an agent's processes, by its kind.

    Raises:
        OSError: one has ended meanwhile.
    """
    if agent.process is None:
        raise RuntimeError("The agent does not run.")
    processes = {"supervisor": memory_of(agent.process.pid)}
    for pid in agent.children():
        arguments = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        kind = next(word for word in arguments if word.startswith("edgewright.agent.")).rpartition(".")[2]
        processes[kind if kind not in processes else f"second {kind}"] = memory_of(pid)
    return processes


def together(processes: dict[str, Memory]) -> int:
    """KiB that the processes keep resident together: of each file the most that one of them has of it."""
    files: dict[str, int] = {}
    for memory in processes.values():
        for file, kib in memory.files.items():
            files[file] = max(files.get(file, 0), kib)
    return sum(memory.anonymous for memory in processes.values()) + sum(files.values())


def mib(kib: float) -> float:
    """KiB as MiB, to a tenth."""
    return round(kib / 1024, 1)
