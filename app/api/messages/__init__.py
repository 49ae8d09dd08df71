"""Anthropic's Messages API in front of chat completions: pure translators, and their relay.

It may import `api.translated`, `api.formats`, `relay`, `models` and `auth`. Begin with `request.py`.
"""
