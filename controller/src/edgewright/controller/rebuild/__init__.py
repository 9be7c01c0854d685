"""Rebuilds: from an alarm to a new version on the line, by durable workflows.

``states`` is the table, ``dataset`` what is learned from, ``ladder`` how candidates are made and judged,
``steps`` what happens, one function a step, and ``workflows`` the only file with DBOS.
"""
