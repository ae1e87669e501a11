"""What did the kernel say? Events become hints; the only import of watchdog."""
