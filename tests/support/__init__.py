"""What tests share: a fake llama-server, and tiny models for real ones."""

from pathlib import Path

FAKE_LLAMA_SERVER = Path(__file__).with_name("fake_llama_server.py")
