//! The streaming server: exec, attach and port-forward over SPDY/3.1 and WebSocket, on loopback.

pub mod http;
pub mod portforward;
pub mod session;
pub mod spdy;
pub mod spdy_exec;
pub mod tokens;
pub mod ws;
