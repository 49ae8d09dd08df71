"""Ollama's API in front of llama-server: requests and answers translated, everything else the relay's."""
