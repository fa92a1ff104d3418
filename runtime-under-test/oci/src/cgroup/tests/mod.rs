//! Pure parts on tables and against models. The real thing is in the crate's `tests/cgroup_real.rs`.

mod conversions;
mod devices;
mod shape;
