"""Talks to the Hub and reads its cache. The only folder that imports huggingface_hub.

It may import `models.gguf` and what lies below `models`. Begin with `client.py`.
"""
