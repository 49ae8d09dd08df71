"""OpenAI's Responses API in front of chat completions: pure translators, their relay, and stored responses.

It may import `api.translated`, `api.formats`, `relay`, `records`, `models` and `auth`. Begin with `request.py`.
"""
