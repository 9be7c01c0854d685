"""What holds for every test: drawn examples are the same in every run, and no example has a time limit."""

from hypothesis import settings

settings.register_profile("edgewright", derandomize=True, deadline=None, print_blob=True)
settings.load_profile("edgewright")
