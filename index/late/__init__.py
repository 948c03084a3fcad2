"""Late-interaction search: a vector a token, MaxSim a document."""
