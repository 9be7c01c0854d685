"""The runner: one process, one runtime, one artifact.

Native code may crash, hang, leak or lie. It does so here, alone: the line notices by the end of a socket, by
the clock, by the resident memory or by the output, kills this process and starts another.
"""
