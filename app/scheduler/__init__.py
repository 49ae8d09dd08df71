"""The queue and the leases: which engine runs, which makes room, and which request is next.

It may import `supervisor` and everything below. Begin with `policy.py`, the pure decision; `loop.py` carries it out.
"""
