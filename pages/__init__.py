"""Pages of HTML that need nothing else: the frame, their look, and the tables, bars and plots that they share."""
