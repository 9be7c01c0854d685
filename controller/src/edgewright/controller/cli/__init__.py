"""The command line ``edgewright``: starts a controller, or talks HTTP to one that runs."""

from edgewright.controller.cli.program import main

__all__ = ["main"]
