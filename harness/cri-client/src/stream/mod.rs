//! The protocols behind the URLs that Exec, Attach and `PortForward` answer: SPDY/3.1 and WebSocket.
//!
//! [`exec::Session`] is for exec and attach, [`forward`] for port forwarding, [`upgrade`] for raw
//! handshakes. Everything has a deadline, given by the caller.

pub mod exec;
pub mod forward;
pub mod spdy;
mod status;
pub mod upgrade;
pub mod ws;

pub use status::Finish;

/// Streaming went wrong.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// Not a URL that can be used.
    #[error("cannot use the stream URL {url:?}: {reason}")]
    Url {
        /// As answered by the server.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// No connection to the streaming server.
    #[error("cannot connect to the streaming server {address}: {source}")]
    Connect {
        /// Host and port.
        address: String,
        /// Why.
        source: std::io::Error,
    },
    /// The server did not switch protocols.
    #[error("the streaming server answered {status} instead of switching to {wanted}: {body}")]
    Handshake {
        /// HTTP status.
        status: u16,
        /// What was asked for.
        wanted: String,
        /// First part of the body.
        body: String,
    },
    /// The answer to the handshake is no HTTP, or not a proper one.
    #[error("the streaming server's answer is not a valid handshake: {0}")]
    Head(String),
    /// The connection broke.
    #[error("the streaming connection broke: {0}")]
    Broken(#[source] std::io::Error),
    /// Bytes that are no SPDY.
    #[error("the streaming server does not speak SPDY/3.1: {0}")]
    Frame(#[source] spdy::FrameError),
    /// Bytes that are no WebSocket, or used in a way that the protocol does not have.
    #[error("the streaming server breaks the WebSocket protocol: {0}")]
    WebSocket(String),
    /// A stream or request was turned down.
    #[error("refused: {0}")]
    Refused(String),
    /// Too slow.
    #[error("streaming took over {0:?} ({1})")]
    Deadline(std::time::Duration, String),
    /// Too much output.
    #[error("over {0} bytes of output")]
    TooLarge(usize),
}
