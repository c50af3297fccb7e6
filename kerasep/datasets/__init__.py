"""Music with its stems: MUSDB18 on disk, and a song rendered here."""
