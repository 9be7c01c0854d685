"""Processes on trial: each bad end has its name, and nothing that was started outlives it."""

import sys
import time
from pathlib import Path

import pytest

from edgewright.agent.fetcher import Interrupted
from edgewright.agent.trial import LOWEST_PRIORITY, OUTPUT_BYTES, Bounds, bounds, run_trial
from edgewright.wire.errors import RunnerCrashError, RunnerHangError, RunnerMemoryError, RuntimeLoadError
from edgewright.wire.manifest import Limits

AMPLE = Bounds(60.0, 512)


BURST = (RunnerCrashError, RunnerMemoryError)


def python(code: str) -> list[str]:
    """A command that runs some Python."""
    return [sys.executable, "-c", code]


def never() -> bool:
    """A trial that nobody calls off."""
    return False


def gone(pid: int) -> bool:
    """Whether a process has ended; polled, because its new parent reaps it."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.02)
    return False


def test_output_and_input_pass() -> None:
    """What is given is read by the process, and what it writes comes back."""
    assert run_trial(python("print(input()[::-1])"), b"golden\n", AMPLE, never) == b"nedlog\n"


@pytest.mark.parametrize(
    ("code", "allowed", "error", "said"),
    [
        ("raise SystemExit(3)", AMPLE, RunnerCrashError, "exit status 3"),
        ("import os; os.abort()", AMPLE, RunnerCrashError, "SIGABRT"),
        ("import time; time.sleep(600)", Bounds(0.3, 512), RunnerHangError, "more than 0 s"),
        ("import time; x = b'x' * (200 << 20); time.sleep(600)", Bounds(60.0, 150), RunnerMemoryError, "150"),
        # The kernel refuses it; where this process was too slow to set the kernel's limit, its own look does.
        ("x = b'x' * (900 << 20); print(len(x))", Bounds(60.0, 150), BURST, "exit status 1|150 are allowed"),
    ],
)
def test_each_bad_end_has_its_name(
    code: str, allowed: Bounds, error: type[Exception] | tuple[type[Exception], ...], said: str
) -> None:
    """A bad exit, a signal, a hang, a growth and a burst are told apart."""
    with pytest.raises(error, match=said):
        run_trial(python(code), b"", allowed, never)


def test_children_end_with_it(tmp_path: Path) -> None:
    """What a process on trial has started is ended with it when its time is over."""
    note = tmp_path / "pid"
    code = (
        "import subprocess, sys, time;"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
        f"open({str(note)!r}, 'w').write(str(child.pid)); time.sleep(600)"
    )
    with pytest.raises(Interrupted):
        run_trial(python(code), b"", AMPLE, lambda: note.exists() and note.read_text() != "")
    assert gone(int(note.read_text()))


def test_children_end_with_one_that_ended_well(tmp_path: Path) -> None:
    """What it left behind dies with it, whether that holds its output open or not, and costs it no time."""
    for number, output in enumerate(("None", "subprocess.DEVNULL")):
        note = tmp_path / str(number)
        code = (
            "import subprocess, sys;"
            "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'],"
            f" stdout={output});"
            f"open({str(note)!r}, 'w').write(str(child.pid)); print('done')"
        )
        assert run_trial(python(code), b"", Bounds(30.0, 512), never) == b"done\n"
        assert gone(int(note.read_text()))


def test_more_than_an_answer_is_not_read() -> None:
    """A process that writes without an end is ended, before it has filled the supervisor's memory."""
    with pytest.raises(RunnerCrashError, match=f"more than {OUTPUT_BYTES} bytes"):
        run_trial(python("import os\nwhile True: os.write(1, b'y' * 4096)"), b"", AMPLE, never)


def test_what_yields_the_processor_is_the_first_to_go_where_memory_is_short() -> None:
    """The kernel ends a trial of the lowest priority before any other process."""
    look = "open('/proc/self/oom_score_adj').read().strip()"
    until = f"while {look} != '1000' and time.monotonic() < end: time.sleep(0.01)"
    wait = f"import time; end = time.monotonic() + 20\n{until}\nprint({look})"
    assert run_trial(python(wait), b"", AMPLE, never, LOWEST_PRIORITY) == b"1000\n"
    own = Path("/proc/self/oom_score_adj").read_bytes()
    assert run_trial(python(f"print({look})"), b"", AMPLE, never) == own


def test_an_owners_seconds_are_for_both_times_together(tmp_path: Path) -> None:
    """A process that a signal has ended is not tried again once it has had the seconds of its owner."""
    note = tmp_path / "tries"
    count = f"import os, signal, time; open({str(note)!r}, 'a').write('x'); time.sleep(0.2);"
    kill = "os.kill(os.getpid(), signal.SIGKILL)"
    with pytest.raises(RunnerCrashError, match="SIGKILL"):
        run_trial(python(count + kill), b"", AMPLE, never, most_seconds=0.1)
    assert note.read_text() == "x"


def test_a_signal_is_no_verdict_the_first_time(tmp_path: Path) -> None:
    """Killed once, as where memory is short, it is tried once more; an exit status is a verdict at once."""
    note = tmp_path / "tries"
    count = f"import os, signal; open({str(note)!r}, 'a').write('x'); tries = os.path.getsize({str(note)!r});"
    kill = "os.kill(os.getpid(), signal.SIGKILL)"
    assert run_trial(python(f"{count} tries > 1 or {kill}; print('good')"), b"", AMPLE, never) == b"good\n"
    assert note.read_text() == "xx"
    with pytest.raises(RunnerCrashError, match="SIGKILL"):
        run_trial(python(f"{count} {kill}"), b"", AMPLE, never)
    assert note.read_text() == "xxxx"
    with pytest.raises(RunnerCrashError, match="exit status 3"):
        run_trial(python(f"{count} raise SystemExit(3)"), b"", AMPLE, never)
    assert note.read_text() == "xxxxx"


def test_a_python_that_is_not_there() -> None:
    """An environment that was removed ends in one sentence."""
    with pytest.raises(RuntimeLoadError, match="cannot be started"):
        run_trial(["/nowhere/python"], b"", AMPLE, never)


def test_bounds_grow_with_what_is_promised() -> None:
    """A larger artifact and a slower model get more time and memory, up to an end."""
    small = bounds(Limits(0.01, 1_000, 100, 1, 1), 1 << 20)
    large = bounds(Limits(0.01, 50_000, 400, 1, 1), 100 << 20)
    assert small.seconds < large.seconds < bounds(Limits(0.01, 10**9, 1, 1, 1), 1).seconds == 1800.0
    assert small.memory_mb < large.memory_mb
