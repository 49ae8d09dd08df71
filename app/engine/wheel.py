"""The wheels with a working embedded engine, and the command that installs one (ADR 3)."""

from __future__ import annotations

# As in the extra `embedded`
WHEEL = "xllamacpp>=2026.10,<2026.11"
# By the wheel's own name: the project's may be in no index
GET_WHEEL = f"pip install '{WHEEL}'"
