"""Implementations of the ports that keep state: each subpackage knows one engine and none of the others."""
