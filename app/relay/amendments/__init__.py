"""Amends fields of OpenAI's requests that llama-server ignores or fails on, and changes their answers.

This folder is pure. It may import `relay.request` and `relay.response.usage`. Begin with `amend.py`; docs/api.md lists
the fields.
"""
