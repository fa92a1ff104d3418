//! The part of SPDY/3.1 that kubelets and their container runtimes use.

mod connection;
mod dictionary;
mod frame;

pub use connection::{Connection, Event, Writer};
pub use frame::{Decoder, Encoder, Frame, FrameError, Headers};
