//! Calls with bytes of the caller's own making: unknown methods, unknown fields, garbage.

use bytes::{Buf as _, BufMut as _, Bytes};
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

use crate::calls::Service;
use crate::client::Client;
use crate::error::CallError;
use std::time::Duration;

/// A codec that leaves bytes alone.
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, data: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(data.copy_to_bytes(data.remaining())))
    }
}

/// What stands for the name of the rpc in records and errors of calls by bytes.
pub(crate) const NAME: &str = "(raw)";

impl Client {
    /// Calls `method` of `service` (full name, such as `runtime.v1alpha2.RuntimeService`) on the runtime
    /// socket with these message bytes, and gives the bytes of the answer.
    pub async fn raw(
        &self,
        service: &str,
        method: &str,
        message: Bytes,
        wait: Duration,
    ) -> Result<Bytes, CallError> {
        let path = format!("/{service}/{method}");
        self.call(NAME, Service::Runtime, path, Raw, message, wait).await
    }
}

/// Encodes one unknown field (length-delimited) to append to a message.
pub fn unknown_field(number: u32, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    prost::encoding::encode_varint(u64::from(number) << 3 | 2, &mut out);
    prost::encoding::encode_varint(value.len() as u64, &mut out);
    out.extend_from_slice(value);
    out
}
