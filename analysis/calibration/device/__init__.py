"""What the GPU in this machine does: measured times and watts, and a profile that the catalog loads."""
