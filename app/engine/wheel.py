"""Which wheels hold an embedded engine that works, and how to get one (ADR 3)."""

from __future__ import annotations

# As the extra `embedded` asks for it
WHEEL = "xllamacpp>=2026.10,<2026.11"
# By the wheel's own name: the project's may be in no index
GET_WHEEL = f"pip install '{WHEEL}'"
