"""``python -m simulators.demo [--seed N] [--data DIR]``: tells the story and ends with one line of JSON."""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx
import msgspec
from rich.console import Console

from edgewright.wire.errors import EdgewrightError
from simulators.demo.stage import Stage
from simulators.demo.story import Story, StoryError


def main() -> int:
    """Run the demo; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m simulators.demo", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="another seed is another stream of goods")
    parser.add_argument("--data", type=Path, help="an empty folder to keep; a temporary one without it")
    arguments = parser.parse_args()
    if arguments.data is None:
        with tempfile.TemporaryDirectory(prefix="edgewright-demo-", ignore_cleanup_errors=True) as folder:
            return _run(Path(folder), arguments.seed)
    return _run(arguments.data, arguments.seed)


def _run(data: Path, seed: int) -> int:
    console = Console()
    models = Path(__file__).parents[2] / "models"
    with Stage(console) as stage:
        story = Story(data, seed, stage, models)
        try:
            line = story.tell()
        except (StoryError, EdgewrightError, httpx.HTTPError, subprocess.SubprocessError) as error:
            stage.say(f"The demo stopped: {error}", "bold red")
            return 1
        except (StopIteration, LookupError, msgspec.MsgspecError) as error:
            # What the controller answered has not the shape that the story reads.
            said = f"{type(error).__name__} {error}".strip()
            stage.say(f"The demo stopped: the controller's answer cannot be read ({said}).", "bold red")
            return 1
        except KeyboardInterrupt:
            return 130
        finally:
            story.close()
    sys.stdout.write(line.decode() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
