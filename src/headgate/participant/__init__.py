"""The participant plane: everything that the public talks to."""
