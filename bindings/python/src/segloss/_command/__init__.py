"""What `python -m segloss` does: a module for each of its commands, none of which `import segloss` loads."""
