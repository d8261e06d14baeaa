"""The commands of `hf-tfm bench`, one file each, and the modules that measure one point in a process of their own.
A tool prints tables, writes its numbers and draws a plot; it never passes or fails by them."""
