"""HTTP in front of the core: paths, formats of errors, the models list, metrics and the admin endpoints.

It may import `tuning`, `relay` and everything below; beside `main` it is the only room that knows FastAPI. Begin with
`dispatch.py`, the outermost ASGI callable.
"""
