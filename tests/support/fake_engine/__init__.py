"""The parts of `fake_llama_server.py`.

Bodies, headers, log lines and exit codes were copied off runs of llama-server b11434 (CPU build). Threads and
raw sockets, no asyncio: a thread a connection is what the real one does, and it starts faster.
"""
