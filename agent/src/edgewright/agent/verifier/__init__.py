"""The verifier: a short-lived process that alone parses signed metadata.

The supervisor holds no parser of metadata and none of its libraries, which cost a third of its memory; what
a hostile broker sends is read by a process that has no database, no network, limits on time and memory, and
that can crash without anything else noticing. It asks the supervisor for each file that it needs.
"""
