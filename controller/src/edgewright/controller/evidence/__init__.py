"""Anytime-valid evidence: the one statistical backbone of alarms, canary gates and rebuild gates.

Everything here is pure: numbers in, numbers out, no clock, no file, no database. All of it may be looked at
after every window without paying for the looks.
"""
