"""The web pages: server-rendered HTML that stays live by server-sent events.

``rows`` reads the database, ``overview``, ``details``, ``story`` and ``charts`` shape what it read into
values without any further look at it, the templates lay the values out, ``pages`` and ``live`` serve them.
"""
