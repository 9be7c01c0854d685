"""What processes keep resident, read from ``/proc/<pid>/smaps`` and ``smaps_rollup`` (proc(5))."""

import re
from pathlib import Path
from typing import Final, NamedTuple

from tests.agent.agent_rig import AgentRig

_MAPPING: Final = re.compile(r"[0-9a-f]+-[0-9a-f]+ \S+ (\S+) (\S+ \d+) *(.*)")

_OF_FILES: Final = {"Rss": 1, "Anonymous": -1}
"""What a mapping has of its file: all that is resident, without the pages that were written to."""


class Memory(NamedTuple):
    """Resident memory of one process in KiB.

    Attributes:
        rss, pss: resident and proportional set size.
        anonymous: pages that are of no file; of those that processes share after a fork, its share.
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
    totals = {"Rss": 0, "Pss": 0}
    files: dict[str, int] = {}
    file = ""
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if mapping := _MAPPING.match(line):
            file = " ".join(mapping.groups())
            continue
        name, _, rest = line.partition(":")
        if name in totals:
            totals[name] += int(rest.split()[0])
        if name in _OF_FILES:
            files[file] = files.get(file, 0) + _OF_FILES[name] * int(rest.split()[0])
    return Memory(totals["Rss"], totals["Pss"], _share_of_anonymous(pid), files)


def _share_of_anonymous(pid: int) -> int:
    """``Pss_Anon``: what ``Anonymous`` says, without counting a page twice that two processes still share."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss_Anon:"))


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
