"""A model file becomes sound; no torch, no audio device."""
