"""Headgate gives a limited supply to a crowd: exactly, fairly, and fast."""

__version__ = "0.1.0"
