//! The statistics of the benchmark.
