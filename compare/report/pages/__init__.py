"""The pages of a comparison and of a study: what the templates are filled with."""
