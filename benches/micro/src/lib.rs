//! Criterion benchmarks of hot paths.
