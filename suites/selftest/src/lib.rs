//! Cases that must fail, hang, leak and panic: the engine's own proof.
