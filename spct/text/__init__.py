"""Text in and text out (pure): what goes into a prompt, made harmless, and what a reply says."""
