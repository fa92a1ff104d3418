//! Client of any CRI v1 endpoint.
//!
//! [`Target`] says where, [`Client`] calls: every rpc has a method here, a deadline of its own, a limit
//! on message size and a [`Record`] of what was asked and answered. [`Capabilities`] tells what the
//! endpoint has. [`stream`] speaks the protocols behind the URLs of Exec, Attach and `PortForward`.

mod calls;
mod capability;
mod client;
mod error;
mod raw;
mod record;
pub mod stream;
mod target;
pub mod v1;

pub use calls::{RPCS, Rpc, Service};
pub use capability::{Capabilities, OPTIONAL, Presence, presence};
pub use client::{Client, MESSAGE_LIMIT, Options, Receive};
pub use error::{CallError, Kind};
pub use raw::unknown_field;
pub use record::{Record, Records};
pub use target::{Target, TargetError};
pub use tonic::Code;
