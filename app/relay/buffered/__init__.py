"""Whole answers that are requested from the engine as streams, so that a client that leaves frees its slot.

It is pure and may import `relay.request`, `relay.amendments` and `relay.response.usage`. Begin with `eligibility.py`.
"""
