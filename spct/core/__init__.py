"""The line (pure but for its engine): an example and k to prompts, replies to a verdict."""
