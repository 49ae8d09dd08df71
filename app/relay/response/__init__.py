"""Writes the answer to the client: the upstream's bytes, comments in pauses, error events. Reads usage from the tail.

It may import `relay.upstream` and what lies below the relay. Begin with `forward.py`.
"""
