//! The reference CRI server.
