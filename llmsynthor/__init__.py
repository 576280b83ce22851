"""llmsynthor: published aggregate tables in, realistic individual records out."""

__version__ = "0.1.0"
