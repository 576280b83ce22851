"""What a model is shown: contexts of templates, gaps, views, the focus of a call."""
