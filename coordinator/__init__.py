"""The coordinator: decides, persists and drives global transactions."""
