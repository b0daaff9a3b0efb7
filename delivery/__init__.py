"""The tool that renders, proves and moves releases."""
