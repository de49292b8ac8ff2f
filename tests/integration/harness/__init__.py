"""Starts the real programs, breaks them on purpose and checks what a user sees: exit codes, --json and files."""
