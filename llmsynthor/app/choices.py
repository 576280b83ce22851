"""What the command line lets a user choose from: registries, read without what stands behind them."""

from llmsynthor.results.exports.formats import EXPORTS, formats_with

__all__ = ["EXPORTS", "formats_with"]
