"""Requests whole answers from the engine as streams, so that an engine notices when the client leaves.

It is pure and may import `relay.request`, `relay.amendments` and `relay.response.usage`. Begin with `eligibility.py`.
"""
