"""Examples to read and run; ``make demo`` runs them all under fire."""
