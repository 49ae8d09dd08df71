"""A client's request: its target, its body, the edits of `request:` and the media that it names.

It may import `relay.headers` and what lies below the relay. Begin with `parse.py`.
"""
