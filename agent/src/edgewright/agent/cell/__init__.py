"""The agent's own cell: reads frames from a source, asks the line, hands decisions to sinks.

It stands where a machine would stand, at the line's cell socket, in a process of its own: camera code is
native and crashes alone. Nothing of the line or the supervisor is imported here.
"""
