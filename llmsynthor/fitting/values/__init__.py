"""Values inside bins: drawn, and moved until means and quantiles are those published."""
