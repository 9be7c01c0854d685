"""From a pushed model to one proven, reproducible artifact for each target."""
