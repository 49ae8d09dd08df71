"""The HTTP server: uvicorn with our own signals, limits per connection, and sockets.

It may import `main` and everything below. Begin with `serve.py`.
"""
