"""Waveforms, spectra and masks, in NumPy and SciPy alone."""
