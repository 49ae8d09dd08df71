"""The Hub and its cache; the only room that knows huggingface_hub.

It may import `models.gguf` and what lies below `models`. Begin with `client.py`.
"""
