"""Lets `python -m llmsynthor` be the command line."""

from llmsynthor.cli.main import run_and_exit

run_and_exit()
