"""The whole product as real processes: a controller with its broker, agents, cells."""
