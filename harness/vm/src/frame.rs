//! What goes over the serial line: frames with a length and a checksum, so that damage is seen and never believed.
//!
//! A frame is the four bytes `7f 50 4c 4d`, one byte for the kind, the length of the payload as 32 bits, the payload,
//! and the CRC-32 of kind, length and payload; numbers are little-endian. Only in front of the first frame may there
//! be other bytes: firmware may write to a serial line before the system does.

use std::io::{self, Write};

const MAGIC: [u8; 4] = [0x7f, b'P', b'L', b'M'];
/// The longest payload.
pub const LONGEST: usize = 64 * 1024;
/// Bytes before the first frame that are skipped.
const NOISE: usize = 64 * 1024;

/// One message of the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Process 1 is up; the text says which kernel.
    Hello(String),
    /// Still alive; sent every few seconds.
    Beat,
    /// Standard output of the command.
    Stdout(Vec<u8>),
    /// Standard error of the command.
    Stderr(Vec<u8>),
    /// The next part of the archive of results: a tar file, compressed with gzip.
    Archive(Vec<u8>),
    /// The archive is complete: its length in bytes and its SHA-256 in hexadecimal digits.
    ArchiveEnd(u64, String),
    /// Something that the user should know.
    Note(String),
    /// The last frame: the exit code of the command.
    Exit(u8),
}

impl Frame {
    fn parts(&self) -> (u8, Vec<u8>) {
        match self {
            Self::Hello(text) => (1, text.as_bytes().to_vec()),
            Self::Beat => (2, Vec::new()),
            Self::Stdout(bytes) => (3, bytes.clone()),
            Self::Stderr(bytes) => (4, bytes.clone()),
            Self::Archive(bytes) => (5, bytes.clone()),
            Self::ArchiveEnd(length, digest) => (6, format!("{length} {digest}").into_bytes()),
            Self::Note(text) => (7, text.as_bytes().to_vec()),
            Self::Exit(code) => (8, vec![*code]),
        }
    }

    fn from_parts(kind: u8, payload: &[u8]) -> Option<Self> {
        let text = || String::from_utf8_lossy(payload).into_owned();
        Some(match kind {
            1 => Self::Hello(text()),
            2 if payload.is_empty() => Self::Beat,
            3 => Self::Stdout(payload.to_vec()),
            4 => Self::Stderr(payload.to_vec()),
            5 => Self::Archive(payload.to_vec()),
            6 => {
                let text = text();
                let (length, digest) = text.split_once(' ')?;
                Self::ArchiveEnd(length.parse().ok()?, digest.to_owned())
            }
            7 => Self::Note(text()),
            8 if payload.len() == 1 => Self::Exit(payload[0]),
            _ => return None,
        })
    }

    /// Writes the frame. Payloads longer than [`LONGEST`] are an error.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let (kind, payload) = self.parts();
        if payload.len() > LONGEST {
            return Err(io::Error::other("a frame is too long"));
        }
        let mut body = vec![kind];
        body.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        body.extend_from_slice(&payload);
        let sum = crc32fast::hash(&body);
        out.write_all(&[&MAGIC[..], &body, &sum.to_le_bytes()].concat())
    }
}

/// Takes in bytes as they come and gives out frames.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    in_step: bool,
}

impl Decoder {
    /// Takes in bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next frame; `None` until more bytes come.
    ///
    /// # Errors
    /// When bytes are no frame, or a checksum is wrong. The decoder is of no use after that.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, String> {
        if !self.in_step {
            match self.buffer.windows(MAGIC.len()).position(|w| w == MAGIC) {
                Some(start) => {
                    self.buffer.drain(..start);
                    self.in_step = true;
                }
                None if self.buffer.len() > NOISE => return Err("no frame in the first 64 KiB".into()),
                None => return Ok(None),
            }
        }
        if self.buffer.len() < 9 {
            return Ok(None);
        }
        if self.buffer[..4] != MAGIC {
            return Err("bytes between two frames".into());
        }
        let length =
            u32::from_le_bytes([self.buffer[5], self.buffer[6], self.buffer[7], self.buffer[8]]) as usize;
        if length > LONGEST {
            return Err(format!("a frame of {length} bytes"));
        }
        let end = 9 + length;
        if self.buffer.len() < end + 4 {
            return Ok(None);
        }
        let sum = u32::from_le_bytes([
            self.buffer[end],
            self.buffer[end + 1],
            self.buffer[end + 2],
            self.buffer[end + 3],
        ]);
        if sum != crc32fast::hash(&self.buffer[4..end]) {
            return Err("a checksum is wrong".into());
        }
        let (kind, frame) = (self.buffer[4], Frame::from_parts(self.buffer[4], &self.buffer[9..end]));
        self.buffer.drain(..end + 4);
        frame.map(Some).ok_or_else(|| format!("a frame of the unknown kind {kind}"))
    }
}

#[cfg(test)]
mod tests {
    use super::{Decoder, Frame};
    use proptest::prelude::*;

    fn frames() -> Vec<Frame> {
        vec![
            Frame::Hello("6.12".into()),
            Frame::Beat,
            Frame::Stdout(vec![0x7f, b'P', b'L', b'M', 0]),
            Frame::Stderr(vec![]),
            Frame::Archive(vec![7; 5000]),
            Frame::ArchiveEnd(5000, "ab".into()),
            Frame::Note("n".into()),
            Frame::Exit(3),
        ]
    }

    fn bytes() -> Vec<u8> {
        let mut out = Vec::new();
        for frame in frames() {
            frame.write(&mut out).unwrap();
        }
        out
    }

    fn decode(decoder: &mut Decoder, bytes: &[u8], step: usize) -> Result<Vec<Frame>, String> {
        let mut found = Vec::new();
        for chunk in bytes.chunks(step.max(1)) {
            decoder.push(chunk);
            while let Some(frame) = decoder.next_frame()? {
                found.push(frame);
            }
        }
        Ok(found)
    }

    proptest! {
        #[test]
        fn frames_come_through_in_pieces_of_any_size(step in 1usize..6000, noise in proptest::collection::vec(0u8..0x7f, 0..50)) {
            let all = [noise, bytes()].concat();
            prop_assert_eq!(decode(&mut Decoder::default(), &all, step).unwrap(), frames());
        }

        #[test]
        fn one_damaged_bit_is_never_believed(at in 0usize..100_000, bit in 0u8..8) {
            let mut all = bytes();
            let at = at % all.len();
            all[at] ^= 1 << bit;
            // Damage shows as an error, or as frames that are missing at the end or the beginning: never as others.
            if let Ok(found) = decode(&mut Decoder::default(), &all, 4096) {
                prop_assert!(found.len() < frames().len());
                prop_assert!(frames().starts_with(&found) || frames().ends_with(&found));
            }
        }

        #[test]
        fn rubbish_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
            let mut all = b"\x7fPLM".to_vec();
            all.extend(bytes);
            let _ = decode(&mut Decoder::default(), &all, 7);
        }
    }

    #[test]
    fn a_frame_too_long_is_refused_on_both_sides() {
        assert!(Frame::Stdout(vec![0; super::LONGEST + 1]).write(&mut Vec::new()).is_err());
        let mut decoder = Decoder::default();
        decoder.push(b"\x7fPLM\x03\xff\xff\xff\xff");
        assert!(decoder.next_frame().is_err());
    }
}
