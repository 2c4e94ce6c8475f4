"""What a run leaves: records and weight files, written and read."""
