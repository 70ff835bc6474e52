"""What stands before the application: nginx, the kernel and the limits of a machine, as text made from the settings."""
