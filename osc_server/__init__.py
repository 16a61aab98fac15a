"""OSC in, audio out, in time."""
