"""`hf-tfm doctor`: what is broken in a checkpoint, of any code, and what mends it. It reads and loads, and changes
nothing."""
