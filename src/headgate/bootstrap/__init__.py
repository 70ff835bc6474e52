"""The one place that wires implementations to ports: a module for each plane, and one for commands."""
