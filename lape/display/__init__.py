"""What results look like in a notebook: small tables and layer strips, as text and as HTML, and a plot by layer."""
