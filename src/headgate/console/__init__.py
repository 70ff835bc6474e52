"""The console: what operators see, and the metrics.  A process and a listener of its own."""
