"""The way back to the client: bytes as they come, comments in pauses, error events, usage from the tail.

It may import `relay.upstream` and what lies below the relay. Begin with `forward.py`.
"""
