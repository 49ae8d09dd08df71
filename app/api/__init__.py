"""The HTTP interface: paths, error formats, the list of models, metrics and the admin endpoints.

It may import `tuning`, `relay` and everything below; beside `main` it is the only room that knows FastAPI. Begin with
`dispatch.py`, the outermost ASGI callable.
"""
