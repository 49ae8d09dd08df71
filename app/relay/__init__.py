"""The way of one request: read, a lease, the upstream, and its bytes back to the client.

It may import `scheduler` and everything below, and no web framework: it is plain ASGI. Begin with `relay.py`; the
folders follow in reading order: `request`, `upstream`, `response`, `buffered`.
"""
