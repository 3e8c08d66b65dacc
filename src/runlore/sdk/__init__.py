"""What runs beside the user's program: run, spool, sender, client of the API."""
