"""Confidential models: content keys, encrypted blobs, and keys wrapped for devices."""
