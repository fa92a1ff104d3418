//! The de-facto command line of OCI runtimes.
