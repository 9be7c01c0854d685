"""The device: supervisor, line and runner processes."""
