"""The language that controller and devices share: topics, messages, manifests, states, errors.

It imports msgspec and the standard library, nothing else, and does no I/O. The controller knows this
language from the device's distribution; the device knows nobody.
"""
