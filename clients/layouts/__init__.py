"""Makes the layouts that cannot well be written by hand: Max, Pd, TouchOSC, Open Stage Control."""
