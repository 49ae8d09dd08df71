"""What OpenAI's requests ask for and llama-server ignores or breaks on: mended on the way in, answered on the way out.

It is pure and may import `relay.request` and `relay.response.usage`. Begin with `amend.py`; docs/api.md has the list.
"""
