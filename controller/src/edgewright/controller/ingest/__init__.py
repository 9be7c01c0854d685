"""Ingest: what devices send becomes rows, once each, and is acknowledged after it is stored."""
