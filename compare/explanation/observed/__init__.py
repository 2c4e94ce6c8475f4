"""What the watchers wrote, read, paired and made into a plan."""
