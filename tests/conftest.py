"""What holds for every test: drawn examples are the same in every run, and no example has a time limit."""

import os

from hypothesis import settings

from tests.environments import TOOLCHAINS

# Before anything imports it: what is tested here is no business of onnxruntime's maker.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
os.environ["EDGEWRIGHT_TOOLCHAINS"] = str(TOOLCHAINS)

settings.register_profile("edgewright", derandomize=True, deadline=None, print_blob=True)
settings.load_profile("edgewright")
