//! The container runtime interface v1.
