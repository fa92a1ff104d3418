//! The case attribute.
