"""A loan with a reservation, an approval and a pivot."""
