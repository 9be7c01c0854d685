"""Certificates: the fleet's authority, requests for them, who holds one, and TLS with them."""
