"""Signing: the image repository and the director, the only folder that imports tuf and securesystemslib."""
