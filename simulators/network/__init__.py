"""A network that fails as ordered: rate, delay, loss and partitions between a device and its broker.

A link listens at a port of its own on loopback and leads to another address. Where the machine lets this
process make network namespaces and TUN devices, what lies between is a real IP path: two namespaces, real TCP
with its retransmissions, and packets that are delayed and lost one by one. Elsewhere it is a proxy of byte
streams, in which a loss is the pause that a retransmission would take.
"""
