"""Formats errors for each API (OpenAI, Anthropic, Ollama), and maps the core's exceptions to status codes.

It is pure and may import `relay.api_format` and `errors`. Begin with `select.py`, which returns the format of a path.
"""
