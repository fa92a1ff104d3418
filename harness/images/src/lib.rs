//! Generated OCI images and the in-process registry that serves them.
