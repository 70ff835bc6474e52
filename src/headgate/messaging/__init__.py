"""Ways in which others are told: webhooks."""
