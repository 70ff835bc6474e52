"""The keeper: what must be done once, by whoever holds the lease."""
