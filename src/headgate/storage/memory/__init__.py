"""State that lives in the process and may vanish with it."""
