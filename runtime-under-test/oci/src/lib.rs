//! The reference OCI runtime.
