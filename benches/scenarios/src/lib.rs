//! Benchmark scenarios and their driver loop.
