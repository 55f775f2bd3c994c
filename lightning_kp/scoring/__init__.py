"""A trained method against labels."""
