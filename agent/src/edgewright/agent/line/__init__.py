"""The line: frames in, exactly one decision each, statistics out.

It is one process with one loop. What may crash, the inference, runs in runner processes; what must be right,
the rules of slots, breakers, windows and captures, are pure objects beside the loop.
"""
