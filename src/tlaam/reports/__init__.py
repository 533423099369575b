"""HTML reports of runs and evaluations, and the page layout they share."""
