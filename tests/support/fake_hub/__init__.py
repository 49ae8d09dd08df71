"""The part of the Hugging Face Hub that this project asks for, on loopback, with faults to order."""

from .hub import FakeHub
from .repos import Fault, Repo

__all__ = ["FakeHub", "Fault", "Repo"]
