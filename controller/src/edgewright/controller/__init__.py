"""The controller: compile, sign, roll out, watch, rebuild."""
