//! Everything that a case may touch.
