//! CRI v1 messages and services, generated from the interface definition.
#![allow(missing_docs, deprecated, unused_qualifications, clippy::all, clippy::pedantic)]

tonic::include_proto!("runtime.v1");
