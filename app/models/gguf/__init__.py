"""GGUF files by what they say of themselves: headers and file names.

It is pure and may import `models.catalog`. Begin with `header.py`.
"""
