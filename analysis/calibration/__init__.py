"""Scripts that fit catalog values to measured data and write them; run by hand, never by a simulation."""
