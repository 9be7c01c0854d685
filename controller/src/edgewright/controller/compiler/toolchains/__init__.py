"""Compilers and runtimes whose dependencies clash with ours, each in a virtual environment of its own."""
