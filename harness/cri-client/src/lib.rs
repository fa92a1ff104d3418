//! Client of any CRI v1 endpoint.

/// Messages and clients of CRI v1, generated from `harness/proto/cri/v1/api.proto`.
#[allow(missing_docs, unused_qualifications, deprecated, clippy::all, clippy::pedantic)]
pub mod v1 {
    tonic::include_proto!("runtime.v1");
}
