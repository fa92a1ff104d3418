//! SPDY/3.1 as far as Kubernetes streaming uses it: frames, and header blocks compressed with the
//! protocol's dictionary in one context per direction.

use std::io;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Words of the SPDY/3 dictionary, each stored with its length in front.
const WORDS: &str = "options|head|post|put|delete|trace|accept|accept-charset|accept-encoding|accept-language|accept-ranges|age|allow|\
authorization|cache-control|connection|content-base|content-encoding|content-language|content-length|content-location|content-md5|\
content-range|content-type|date|etag|expect|expires|from|host|if-match|if-modified-since|if-none-match|if-range|if-unmodified-since|\
last-modified|location|max-forwards|pragma|proxy-authenticate|proxy-authorization|range|referer|retry-after|server|te|trailer|\
transfer-encoding|upgrade|user-agent|vary|via|warning|www-authenticate|method|get|status|200 OK|version|HTTP/1.1|url|public|set-cookie|\
keep-alive|origin";

/// What follows them.
const TAIL: &str = "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 \
Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 Not Found500 Internal \
Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, \
Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,\
publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

/// Largest frame taken: clients cut their data into far smaller ones.
const FRAME_LIMIT: usize = 4 << 20;
/// Largest header block after decompression.
const HEADER_LIMIT: usize = 64 << 10;
/// `RST_STREAM` status: no longer needed.
pub const CANCEL: u32 = 5;

fn dictionary() -> Vec<u8> {
    let mut out = Vec::with_capacity(1423);
    for word in WORDS.split('|') {
        out.extend((word.len() as u32).to_be_bytes());
        out.extend(word.as_bytes());
    }
    out.extend(TAIL.as_bytes());
    out
}

/// Name and value pairs; names are lower-case.
pub type Headers = Vec<(String, String)>;

/// A frame from the client.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    /// A new stream.
    SynStream {
        /// Its id.
        id: u32,
        /// Its headers.
        headers: Headers,
        /// The client will send nothing on it.
        fin: bool,
    },
    /// Bytes of a stream.
    Data {
        /// Stream.
        id: u32,
        /// Bytes.
        data: Vec<u8>,
        /// The last of this direction.
        fin: bool,
    },
    /// The client gave a stream up.
    Reset(u32),
    /// To be echoed.
    Ping(u32),
    /// The client will make no more streams.
    GoAway,
    /// Nothing for us.
    Other,
}

/// Reads frames.
pub struct Decoder {
    inflate: Decompress,
    dictionary: Vec<u8>,
}

fn bad(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("SPDY: {why}"))
}

fn be32(bytes: &[u8], at: usize) -> io::Result<u32> {
    bytes
        .get(at..at + 4)
        .and_then(|b| <[u8; 4]>::try_from(b).ok())
        .map(u32::from_be_bytes)
        .ok_or_else(|| bad("a frame is too short"))
}

impl Decoder {
    /// For a fresh connection.
    pub fn new() -> Self {
        Self { inflate: Decompress::new(true), dictionary: dictionary() }
    }

    /// The next frame; `None` at the end of the connection.
    pub async fn read<R: AsyncRead + Unpin>(&mut self, reader: &mut R) -> io::Result<Option<Frame>> {
        let mut head = [0_u8; 8];
        match reader.read_exact(&mut head).await {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        let len = u32::from_be_bytes([0, head[5], head[6], head[7]]) as usize;
        if len > FRAME_LIMIT {
            return Err(bad("a frame is larger than 4 MiB"));
        }
        let mut body = vec![0; len];
        reader.read_exact(&mut body).await?;
        self.parse(head, body).map(Some)
    }

    fn parse(&mut self, head: [u8; 8], body: Vec<u8>) -> io::Result<Frame> {
        let fin = head[4] & 1 != 0;
        let first = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        if first & 0x8000_0000 == 0 {
            return Ok(Frame::Data { id: first, data: body, fin });
        }
        if (first >> 16) & 0x7fff != 3 {
            return Err(bad("the version is not 3"));
        }
        match first & 0xffff {
            1 => {
                let id = be32(&body, 0)? & 0x7fff_ffff;
                let block = body.get(10..).ok_or_else(|| bad("a frame is too short"))?;
                Ok(Frame::SynStream { id, headers: self.headers(block)?, fin })
            }
            // Header blocks of other frames advance the compression context too.
            2 => {
                self.headers(body.get(4..).ok_or_else(|| bad("a frame is too short"))?).map(|_| Frame::Other)
            }
            8 => {
                self.headers(body.get(4..).ok_or_else(|| bad("a frame is too short"))?).map(|_| Frame::Other)
            }
            3 => Ok(Frame::Reset(be32(&body, 0)? & 0x7fff_ffff)),
            6 => Ok(Frame::Ping(be32(&body, 0)?)),
            7 => Ok(Frame::GoAway),
            _ => Ok(Frame::Other),
        }
    }

    fn headers(&mut self, block: &[u8]) -> io::Result<Headers> {
        let plain = self.inflate(block)?;
        let text = |at: &mut usize| -> io::Result<String> {
            let len = be32(&plain, *at)? as usize;
            let bytes = at
                .checked_add(4)
                .and_then(|start| plain.get(start..start.checked_add(len)?))
                .ok_or_else(|| bad("a header is cut off"))?;
            *at += 4 + len;
            String::from_utf8(bytes.to_vec()).map_err(|_| bad("a header is not text"))
        };
        let count = be32(&plain, 0)?;
        let mut at = 4;
        let mut out = Vec::new();
        for _ in 0..count.min(256) {
            let name = text(&mut at)?;
            out.push((name.to_ascii_lowercase(), text(&mut at)?));
        }
        Ok(out)
    }

    fn inflate(&mut self, block: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::with_capacity(1024);
        let mut used = 0;
        loop {
            if out.len() == out.capacity() {
                out.reserve(4096);
            }
            let before = (self.inflate.total_in(), out.len());
            match self.inflate.decompress_vec(&block[used..], &mut out, FlushDecompress::Sync) {
                Ok(Status::StreamEnd) => return Ok(out),
                Ok(_) => {}
                Err(error) if error.needs_dictionary().is_some() => {
                    self.inflate
                        .set_dictionary(&self.dictionary)
                        .map_err(|_| bad("the header dictionary does not fit"))?;
                }
                Err(_) => return Err(bad("a header block cannot be decompressed")),
            }
            used += (self.inflate.total_in() - before.0) as usize;
            if out.len() > HEADER_LIMIT {
                return Err(bad("a header block is larger than 64 KiB"));
            }
            if used >= block.len() && out.len() < out.capacity() {
                return Ok(out);
            }
            if self.inflate.total_in() == before.0 && out.len() == before.1 && out.len() < out.capacity() {
                return Err(bad("a header block is cut off"));
            }
        }
    }
}

/// Makes frames.
pub struct Encoder {
    deflate: Compress,
}

impl Encoder {
    /// For a fresh connection.
    pub fn new() -> Self {
        let mut deflate = Compress::new(Compression::best(), true);
        // Cannot fail on a fresh compressor.
        let _ = deflate.set_dictionary(&dictionary());
        Self { deflate }
    }

    /// The answer to a new stream: no headers.
    pub fn syn_reply(&mut self, id: u32) -> Vec<u8> {
        let mut block = Vec::with_capacity(256);
        let _ = self.deflate.compress_vec(&0_u32.to_be_bytes(), &mut block, FlushCompress::Sync);
        let mut body = id.to_be_bytes().to_vec();
        body.extend(block);
        control(2, 0, &body)
    }

    /// Bytes of a stream.
    pub fn data(id: u32, data: &[u8], fin: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(8 + data.len());
        out.extend(id.to_be_bytes());
        out.extend((data.len() as u32 | u32::from(fin) << 24).to_be_bytes());
        out.extend_from_slice(data);
        out
    }

    /// Ends a stream in both directions.
    pub fn reset(id: u32) -> Vec<u8> {
        control(3, 0, &[id.to_be_bytes(), CANCEL.to_be_bytes()].concat())
    }

    /// Echo.
    pub fn ping(id: u32) -> Vec<u8> {
        control(6, 0, &id.to_be_bytes())
    }

    /// No more streams after `last`.
    pub fn go_away(last: u32) -> Vec<u8> {
        control(7, 0, &[last.to_be_bytes(), 0_u32.to_be_bytes()].concat())
    }
}

fn control(kind: u16, flags: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![0x80, 0x03];
    out.extend(kind.to_be_bytes());
    out.extend((body.len() as u32 | u32::from(flags) << 24).to_be_bytes());
    out.extend_from_slice(body);
    out
}

/// Value of a header.
pub fn header<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
    headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unhex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    /// Bytes that a Go client sent: three new streams on one compression context.
    const FROM_GO: &str = "80030001 0000002a 00000001 00000000 0000 78f9e3c6a7c26260606004a7b392a2d4c45c6851c29a5a54945f0400 0000ffff \
80030001 00000019 00000003 00000000 0000 c22ac5565c92925f5a02000000ffff \
80030001 00000015 00000005 00000000 0000 c229975a540400 0000ffff";

    #[tokio::test]
    async fn reads_what_a_go_client_sends() {
        let bytes = unhex(FROM_GO);
        let mut reader = &bytes[..];
        let mut decoder = Decoder::new();
        for (want_id, want_type) in [(1, "error"), (3, "stdout"), (5, "stderr")] {
            let Some(Frame::SynStream { id, headers, fin }) = decoder.read(&mut reader).await.unwrap() else {
                panic!("not a stream")
            };
            assert_eq!((id, header(&headers, "streamtype"), fin), (want_id, Some(want_type), false));
        }
        assert!(decoder.read(&mut reader).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn our_replies_are_readable_and_bounded() {
        let mut encoder = Encoder::new();
        let first = encoder.syn_reply(1);
        assert_eq!(
            &first[12..18],
            &[0x78, 0xf9, 0xe3, 0xc6, 0xa7, 0xc2],
            "the header of the dictionary as Go writes it"
        );
        let wire =
            [first, encoder.syn_reply(3), Encoder::data(3, b"hi", true), Encoder::reset(3), Encoder::ping(2)]
                .concat();
        let mut reader = &wire[..];
        let mut decoder = Decoder::new();
        assert_eq!(decoder.read(&mut reader).await.unwrap(), Some(Frame::Other));
        assert_eq!(decoder.read(&mut reader).await.unwrap(), Some(Frame::Other));
        assert_eq!(
            decoder.read(&mut reader).await.unwrap(),
            Some(Frame::Data { id: 3, data: b"hi".to_vec(), fin: true })
        );
        assert_eq!(decoder.read(&mut reader).await.unwrap(), Some(Frame::Reset(3)));
        assert_eq!(decoder.read(&mut reader).await.unwrap(), Some(Frame::Ping(2)));
        let huge = [0, 0, 0, 1, 0, 0xff, 0xff, 0xff];
        assert!(Decoder::new().read(&mut &huge[..]).await.is_err());
    }

    #[tokio::test]
    async fn damaged_frames_are_errors() {
        let bytes = unhex(FROM_GO);
        for at in 8..60 {
            let mut broken = bytes.clone();
            broken[at] ^= 0x55;
            let mut reader = &broken[..];
            let mut decoder = Decoder::new();
            while let Ok(Some(_)) = decoder.read(&mut reader).await {}
        }
    }
}
