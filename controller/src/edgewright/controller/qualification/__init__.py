"""Candidates measured on devices of their target: ordering, waiting, recording, choosing."""
