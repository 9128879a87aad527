"""The spend popover: every limit with what is used and held, and what has to be settled by hand."""
