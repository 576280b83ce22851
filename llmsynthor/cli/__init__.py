"""The command line: commands, exit codes, the terminal and its live lines; no arithmetic."""
