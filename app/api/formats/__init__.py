"""Error shapes by API format (OpenAI, Anthropic, Ollama), and the status codes of the core's exceptions.

It is pure and may import `relay.api_format` and `errors`. Begin with `select.py`, which gives the format of a path.
"""
