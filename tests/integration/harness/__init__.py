"""Starts the real programs, breaks them on purpose and looks at what a user sees: exit codes, --json and files."""
