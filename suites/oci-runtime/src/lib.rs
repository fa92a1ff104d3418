//! The OCI runtime-spec, clause by clause.
