"""Stand-ins for the world around the product: lines, fleets, networks. Never shipped."""
