"""Reads a client's request: its target, its body, the edits of `request:` and its media.

It may import `relay.headers` and what lies below the relay. Begin with `parse.py`.
"""
