"""Rollouts: waves of devices that get a version, gates between them, and the decision what comes next."""
