//! Fault-injecting OCI runtime wrapper and CRI proxy.
