"""Drums become a model file; the only folder that needs torch to import."""
