"""Many seeds and variants: planned, spread over workers, judged."""
