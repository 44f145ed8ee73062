"""The page, Markdown and charts of an ablation, made from its `ablation.json` alone."""
