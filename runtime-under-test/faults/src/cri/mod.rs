//! Faults of a CRI endpoint: a proxy between a client and the real endpoint.
//!
//! A call that no step concerns passes as it is, frame by frame. Others are decoded by the wire facts in
//! `catalogue/cri-interface.tsv` into JSON, edited with the same language as everything else, and encoded
//! again; fields that the table does not know survive.

pub mod command;
mod exchange;
mod grpc;
pub mod interface;
mod log;
mod proxy;
pub mod script;
mod stream;
pub mod wire;

pub use proxy::{Options, serve};
