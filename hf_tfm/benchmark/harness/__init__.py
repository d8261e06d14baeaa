"""What the benchmark tools share: workloads, models under comparison, batches, timing, memory, options, reports and
plots. It never imports `tools` and runs no benchmark by itself."""
