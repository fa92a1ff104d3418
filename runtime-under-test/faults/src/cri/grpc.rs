//! gRPC framing and answers.

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::Frame;

/// A body that ended before its time, for whatever reason.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BodyError(pub String);

/// A body of any origin.
pub type Body = UnsyncBoxBody<Bytes, BodyError>;

/// Code of `Unknown`, for answers that give no status.
const UNKNOWN: u32 = 2;

/// One message with its five-byte head.
pub fn frame(message: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(message.len() + 5);
    out.put_u8(0);
    out.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    out.put_slice(message);
    out.freeze()
}

/// Takes the first whole message off the buffer. The flag tells whether it is compressed.
pub fn take_message(buffer: &mut BytesMut) -> Option<(bool, Bytes)> {
    let head: [u8; 5] = buffer.get(..5)?.try_into().ok()?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    if buffer.len() < 5 + length {
        return None;
    }
    let mut whole = buffer.split_to(5 + length);
    Some((head[0] != 0, whole.split_off(5).freeze()))
}

/// The only message of a unary body, when it is plain.
pub fn single(body: &Bytes) -> Option<Bytes> {
    let mut buffer = BytesMut::from(&body[..]);
    let (compressed, message) = take_message(&mut buffer)?;
    (!compressed && buffer.is_empty()).then_some(message)
}

/// The status that headers or trailers carry.
pub fn status(headers: &HeaderMap) -> Option<u32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// The status of an answer: trailers count before headers.
pub fn status_of(headers: &HeaderMap, trailers: Option<&HeaderMap>) -> u32 {
    trailers.and_then(status).or_else(|| status(headers)).unwrap_or(UNKNOWN)
}

fn base() -> Response<()> {
    let mut response = Response::new(());
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}

/// An answer that is only an error.
pub fn error(code: u32, message: &str) -> Response<Body> {
    let mut response = base();
    response.headers_mut().insert("grpc-status", HeaderValue::from(code));
    let text: String =
        message.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).collect();
    if let Ok(text) = HeaderValue::from_str(&text.replace('%', "%25")) {
        response.headers_mut().insert("grpc-message", text);
    }
    response.map(|()| Empty::new().map_err(|never| match never {}).boxed_unsync())
}

/// A successful unary answer.
pub fn success(message: &[u8], trailers: Option<HeaderMap>) -> Response<Body> {
    let trailers = trailers.unwrap_or_else(|| {
        let mut map = HeaderMap::new();
        map.insert("grpc-status", HeaderValue::from_static("0"));
        map
    });
    let frames = [Ok(Frame::data(frame(message))), Ok(Frame::trailers(trailers))];
    base().map(|()| StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_framed_and_found() {
        let mut buffer = BytesMut::from(&frame(b"one")[..]);
        buffer.extend_from_slice(&frame(b"")[..]);
        buffer.extend_from_slice(&[0, 0, 0, 0, 9, 1]);
        assert_eq!(take_message(&mut buffer), Some((false, Bytes::from_static(b"one"))));
        assert_eq!(take_message(&mut buffer), Some((false, Bytes::new())));
        assert_eq!(take_message(&mut buffer), None);
        assert_eq!(single(&frame(b"x")), Some(Bytes::from_static(b"x")));
        assert_eq!(single(&Bytes::from_static(b"\0\0")), None);
    }
}
