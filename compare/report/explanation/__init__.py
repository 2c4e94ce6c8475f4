"""An explanation of two scripts, in a terminal and on a page."""
