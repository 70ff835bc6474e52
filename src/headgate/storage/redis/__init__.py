"""Gate and limits on Redis 7+ or Valkey: one server, Sentinel, or a cluster."""
