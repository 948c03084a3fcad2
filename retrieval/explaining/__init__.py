"""Late interaction explained: which piece of a document each piece of a query met, and what that added to the score."""
