"""Chats as people send them: message lists, and prompts that a template has already written."""
