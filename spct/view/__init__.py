"""The page to read judgements on: served on loopback, or exported as one HTML file."""
