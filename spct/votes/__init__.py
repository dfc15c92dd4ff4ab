"""Votes (pure): judgements to rewards, and when enough of them are drawn."""
