//! Frames to bytes and back (SPDY draft 3.1, sections 2.2 to 2.6). Pure: no I/O here.

use bytes::{Buf as _, Bytes, BytesMut};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::dictionary;

/// Bytes of one header block after decompression.
const HEADER_LIMIT: usize = 64 << 10;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;
const FIN: u8 = 1;

/// Names and values of a header block; names are lower-case.
pub type Headers = Vec<(String, String)>;

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Opens a stream.
    SynStream {
        /// Stream id, odd from a client.
        id: u32,
        /// What the stream is for.
        headers: Headers,
        /// The sender will send nothing on it.
        fin: bool,
    },
    /// Accepts a stream.
    SynReply {
        /// Stream id.
        id: u32,
        /// Usually none.
        headers: Headers,
        /// The sender will send nothing on it.
        fin: bool,
    },
    /// Ends a stream at once.
    Reset {
        /// Stream id.
        id: u32,
        /// 5 is CANCEL.
        status: u32,
    },
    /// To be sent back as it is when its id is of the other side's parity.
    Ping(u32),
    /// No more streams.
    GoAway {
        /// Last stream id accepted.
        last: u32,
        /// 0 is OK.
        status: u32,
    },
    /// Further headers.
    Headers {
        /// Stream id.
        id: u32,
        /// Names and values.
        headers: Headers,
        /// The sender will send no more.
        fin: bool,
    },
    /// Content.
    Data {
        /// Stream id.
        id: u32,
        /// The sender will send no more (half-close).
        fin: bool,
        /// Content, may be empty.
        data: Bytes,
    },
    /// A control frame of another type, such as SETTINGS.
    Other {
        /// Its type.
        kind: u16,
        /// Its content.
        payload: Bytes,
    },
}

/// Bytes that are no SPDY/3.1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A control frame of another version.
    #[error("control frame of SPDY version {0}, expected 3")]
    Version(u16),
    /// A frame too short for its type.
    #[error("frame of type {0} is too short")]
    Short(u16),
    /// A header block that cannot be decompressed or read.
    #[error("header block is broken: {0}")]
    Block(String),
}

/// Turns frames into bytes. Header blocks share one compression context, so one encoder serves one
/// direction of one connection.
pub struct Encoder {
    deflate: Compress,
}

impl Default for Encoder {
    fn default() -> Self {
        let mut deflate = Compress::new(Compression::best(), true);
        // Only fails after compression has begun.
        let _ = deflate.set_dictionary(&dictionary::bytes());
        Self { deflate }
    }
}

impl Encoder {
    /// Bytes of one frame.
    pub fn encode(&mut self, frame: &Frame) -> Vec<u8> {
        match frame {
            Frame::SynStream { id, headers, fin } => {
                let mut body = id.to_be_bytes().to_vec();
                body.extend([0; 6]);
                body.extend(self.block(headers));
                control(SYN_STREAM, *fin, &body)
            }
            Frame::SynReply { id, headers, fin } => self.with_block(SYN_REPLY, *id, headers, *fin),
            Frame::Headers { id, headers, fin } => self.with_block(HEADERS, *id, headers, *fin),
            Frame::Reset { id, status } => control(RST_STREAM, false, &pair(*id, *status)),
            Frame::Ping(id) => control(PING, false, &id.to_be_bytes()),
            Frame::GoAway { last, status } => control(GOAWAY, false, &pair(*last, *status)),
            Frame::Data { id, fin, data } => {
                let mut out = (id & 0x7fff_ffff).to_be_bytes().to_vec();
                out.extend(length(*fin, data.len()));
                out.extend_from_slice(data);
                out
            }
            Frame::Other { kind, payload } => control(*kind, false, payload),
        }
    }

    fn with_block(&mut self, kind: u16, id: u32, headers: &Headers, fin: bool) -> Vec<u8> {
        let mut body = id.to_be_bytes().to_vec();
        body.extend(self.block(headers));
        control(kind, fin, &body)
    }

    fn block(&mut self, headers: &Headers) -> Vec<u8> {
        let mut plain = (headers.len() as u32).to_be_bytes().to_vec();
        for (name, value) in headers {
            for text in [name, value] {
                plain.extend((text.len() as u32).to_be_bytes());
                plain.extend(text.as_bytes());
            }
        }
        let mut out = Vec::with_capacity(plain.len() + 256);
        let mut at = 0;
        loop {
            let before = self.deflate.total_in();
            let done = self.deflate.compress_vec(&plain[at..], &mut out, FlushCompress::Sync);
            at += (self.deflate.total_in() - before) as usize;
            // Room left over means that the flush is complete.
            if done.is_err() || (at == plain.len() && out.len() < out.capacity()) {
                return out;
            }
            out.reserve(256);
        }
    }
}

fn pair(a: u32, b: u32) -> [u8; 8] {
    let mut out = [0; 8];
    out[..4].copy_from_slice(&a.to_be_bytes());
    out[4..].copy_from_slice(&b.to_be_bytes());
    out
}

fn length(fin: bool, len: usize) -> [u8; 4] {
    ((u32::from(fin) << 24) | (len as u32 & 0x00ff_ffff)).to_be_bytes()
}

fn control(kind: u16, fin: bool, body: &[u8]) -> Vec<u8> {
    let mut out = 0x8003_u16.to_be_bytes().to_vec();
    out.extend(kind.to_be_bytes());
    out.extend(length(fin, body.len()));
    out.extend_from_slice(body);
    out
}

/// Turns bytes into frames.
pub struct Decoder {
    inflate: Decompress,
    buffer: BytesMut,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { inflate: Decompress::new(true), buffer: BytesMut::new() }
    }
}

impl Decoder {
    /// Adds bytes from the connection. A frame has at most 16 MiB, so the buffer stays bounded as long
    /// as [`Decoder::next`] is called until it gives nothing.
    pub fn push(&mut self, data: &[u8]) {
        self.buffer.extend_from_slice(data);
    }

    /// Bytes that wait for the rest of their frame.
    pub fn pending(&self) -> usize {
        self.buffer.len()
    }

    /// The next whole frame, `None` when more bytes are needed.
    #[expect(clippy::should_implement_trait, reason = "an iterator that gives None would seem to have ended")]
    pub fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some(head) = self.buffer.first_chunk::<8>() else { return Ok(None) };
        let first = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        let fin = head[4] & FIN != 0;
        let len = u32::from_be_bytes([0, head[5], head[6], head[7]]) as usize;
        if self.buffer.len() < 8 + len {
            return Ok(None);
        }
        self.buffer.advance(8);
        let payload = self.buffer.split_to(len).freeze();
        if first & 0x8000_0000 == 0 {
            return Ok(Some(Frame::Data { id: first, fin, data: payload }));
        }
        let version = (first >> 16) as u16 & 0x7fff;
        if version != 3 {
            return Err(FrameError::Version(version));
        }
        self.control(first as u16, fin, payload).map(Some)
    }

    fn control(&mut self, kind: u16, fin: bool, mut payload: Bytes) -> Result<Frame, FrameError> {
        let needed = match kind {
            SYN_STREAM => 10,
            SYN_REPLY | HEADERS | PING => 4,
            RST_STREAM | GOAWAY => 8,
            _ => return Ok(Frame::Other { kind, payload }),
        };
        if payload.len() < needed {
            return Err(FrameError::Short(kind));
        }
        let id = payload.get_u32() & 0x7fff_ffff;
        Ok(match kind {
            SYN_STREAM => {
                payload.advance(6);
                Frame::SynStream { id, headers: self.block(&payload)?, fin }
            }
            SYN_REPLY => Frame::SynReply { id, headers: self.block(&payload)?, fin },
            HEADERS => Frame::Headers { id, headers: self.block(&payload)?, fin },
            PING => Frame::Ping(id),
            RST_STREAM => Frame::Reset { id, status: payload.get_u32() },
            _ => Frame::GoAway { last: id, status: payload.get_u32() },
        })
    }

    fn block(&mut self, data: &[u8]) -> Result<Headers, FrameError> {
        let broken = |what: &str| FrameError::Block(what.to_owned());
        let mut plain = Vec::with_capacity(1024);
        let mut at = 0;
        while at < data.len() {
            if plain.len() > HEADER_LIMIT {
                return Err(broken("over 64 KiB"));
            }
            plain.reserve(1024);
            let (input, output) = (self.inflate.total_in(), self.inflate.total_out());
            match self.inflate.decompress_vec(&data[at..], &mut plain, FlushDecompress::Sync) {
                Ok(Status::StreamEnd) => return Err(broken("the compressed stream ends")),
                Ok(_) => {}
                Err(error) if error.needs_dictionary().is_some() => {
                    at += (self.inflate.total_in() - input) as usize;
                    self.inflate
                        .set_dictionary(&dictionary::bytes())
                        .map_err(|_| broken("another dictionary is wanted"))?;
                    continue;
                }
                Err(error) => return Err(FrameError::Block(error.to_string())),
            }
            at += (self.inflate.total_in() - input) as usize;
            if self.inflate.total_in() == input && self.inflate.total_out() == output {
                return Err(broken("no progress"));
            }
        }
        parse(&plain).ok_or_else(|| broken("lengths do not add up"))
    }
}

fn parse(mut plain: &[u8]) -> Option<Headers> {
    let count = number(&mut plain)?;
    let mut headers = Vec::new();
    for _ in 0..count {
        let name = string(&mut plain)?;
        headers.push((name, string(&mut plain)?));
    }
    plain.is_empty().then_some(headers)
}

fn number(plain: &mut &[u8]) -> Option<u32> {
    let (head, rest) = plain.split_first_chunk::<4>()?;
    *plain = rest;
    Some(u32::from_be_bytes(*head))
}

fn string(plain: &mut &[u8]) -> Option<String> {
    let len = number(plain)? as usize;
    if len > plain.len() {
        return None;
    }
    let (text, rest) = plain.split_at(len);
    *plain = rest;
    Some(String::from_utf8_lossy(text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames() -> Vec<Frame> {
        let headers = |pairs: &[(&str, &str)]| -> Headers {
            pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
        };
        vec![
            Frame::SynStream { id: 1, headers: headers(&[("streamtype", "error")]), fin: false },
            Frame::SynReply { id: 1, headers: vec![], fin: false },
            Frame::SynStream {
                id: 3,
                headers: headers(&[("streamtype", "data"), ("port", "80"), ("requestid", "0")]),
                fin: true,
            },
            Frame::Headers { id: 3, headers: headers(&[("long", &"x".repeat(5000))]), fin: true },
            Frame::Data { id: 3, fin: false, data: Bytes::from_static(b"hello") },
            Frame::Data { id: 3, fin: true, data: Bytes::new() },
            Frame::Reset { id: 3, status: 5 },
            Frame::Ping(7),
            Frame::GoAway { last: 5, status: 0 },
            Frame::Other { kind: 4, payload: Bytes::from_static(&[0, 0, 0, 0]) },
        ]
    }

    #[test]
    fn frames_survive_a_round_trip_in_any_pieces() {
        for piece in [1, 7, 4096] {
            let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
            let bytes: Vec<u8> = frames().iter().flat_map(|f| encoder.encode(f)).collect();
            let mut out = Vec::new();
            for part in bytes.chunks(piece) {
                decoder.push(part);
                while let Some(frame) = decoder.next().unwrap() {
                    out.push(frame);
                }
            }
            assert_eq!(out, frames());
            assert_eq!(decoder.pending(), 0);
        }
    }

    #[test]
    fn garbage_is_an_error_and_never_a_panic() {
        let mut decoder = Decoder::default();
        decoder.push(&[0x80, 2, 0, 1, 0, 0, 0, 0]);
        assert_eq!(decoder.next(), Err(FrameError::Version(2)));
        let mut decoder = Decoder::default();
        decoder.push(&[0x80, 3, 0, 1, 0, 0, 0, 2, 0, 0]);
        assert_eq!(decoder.next(), Err(FrameError::Short(1)));
        let mut decoder = Decoder::default();
        decoder.push(&[0x80, 3, 0, 2, 0, 0, 0, 9, 0, 0, 0, 1, 1, 2, 3, 4, 5]);
        assert!(matches!(decoder.next(), Err(FrameError::Block(_))));
        // A fixed stream of pseudo-random bytes.
        let mut state = 88_172_645_463_325_252_u64;
        for _ in 0..200 {
            let mut decoder = Decoder::default();
            let mut bytes = vec![0x80, 3, 0, 2, 0, 0, 0, 60];
            for _ in 0..60 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                bytes.push(state as u8);
            }
            decoder.push(&bytes);
            let _ = decoder.next();
        }
    }

    #[test]
    fn a_header_bomb_is_refused() {
        let headers = vec![("a".to_owned(), "0".repeat(1 << 20))];
        let bytes = Encoder::default().encode(&Frame::SynReply { id: 1, headers, fin: false });
        assert!(bytes.len() < 10_000);
        let mut decoder = Decoder::default();
        decoder.push(&bytes);
        assert!(matches!(decoder.next(), Err(FrameError::Block(_))));
    }
}
