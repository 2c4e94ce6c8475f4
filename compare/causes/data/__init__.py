"""Why batches are not those of the recipe."""
