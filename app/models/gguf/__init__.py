"""Reads GGUF files: headers and file names.

It is pure and may import `models.catalog`. Begin with `header.py`.
"""
