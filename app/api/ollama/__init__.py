"""Ollama's API in front of llama-server: requests and responses are translated around the relay.

It may import the rest of `api`, and `relay`. Begin with `relay.py`.
"""
