"""Brokers for every contract test."""

from tests.contract.brokers import broker, nats

__all__ = ["broker", "nats"]
