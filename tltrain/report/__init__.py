"""HTML pages and tables, made from saved JSON files only. Imports neither torch nor transformers."""
