//! Reading kernel structures out of byte buffers, and putting raw bytes into JSON.
use crate::prelude::*;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Little views into a buffer that the kernel filled. Reads beyond the end give zero: a short answer of the
/// kernel then shows as zeros, never as a panic.
pub struct Reader<'a>(pub &'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut out = [0; N];
        if let Some(part) = at.checked_add(N).and_then(|end| self.0.get(at..end)) {
            out.copy_from_slice(part);
        }
        out
    }
    pub fn u16(&self, at: usize) -> u16 {
        u16::from_ne_bytes(self.array(at))
    }
    pub fn i16(&self, at: usize) -> i16 {
        i16::from_ne_bytes(self.array(at))
    }
    pub fn u32(&self, at: usize) -> u32 {
        u32::from_ne_bytes(self.array(at))
    }
    pub fn i32(&self, at: usize) -> i32 {
        i32::from_ne_bytes(self.array(at))
    }
    pub fn u64(&self, at: usize) -> u64 {
        u64::from_ne_bytes(self.array(at))
    }
    pub fn i64(&self, at: usize) -> i64 {
        i64::from_ne_bytes(self.array(at))
    }
    /// The bytes from `at` up to a NUL, or to the end of the buffer, at most `max`.
    pub fn c_str(&self, at: usize, max: usize) -> &[u8] {
        let rest = self.0.get(at..).unwrap_or_default();
        let rest = rest.get(..max).unwrap_or(rest);
        rest.split(|&b| b == 0).next().unwrap_or_default()
    }
}

/// Puts integers into a buffer for the kernel, field after field.
#[derive(Default)]
pub struct Writer(pub Vec<u8>);

impl Writer {
    pub fn u16(mut self, value: u16) -> Self {
        self.0.extend_from_slice(&value.to_ne_bytes());
        self
    }
    pub fn u32(mut self, value: u32) -> Self {
        self.0.extend_from_slice(&value.to_ne_bytes());
        self
    }
    pub fn bytes(mut self, value: &[u8]) -> Self {
        self.0.extend_from_slice(value);
        self
    }
}

/// Raw bytes as JSON: a string when they are UTF-8, else `{"base64": "..."}`.
pub fn text(bytes: &[u8]) -> Value {
    match core::str::from_utf8(bytes) {
        Ok(text) => Value::from(text),
        Err(_) => json!({ "base64": base64(bytes) }),
    }
}

/// File or stream content: `{"data": "...", "encoding": "utf8"|"base64", "bytes": n}`.
pub fn content(bytes: &[u8]) -> Map<String, Value> {
    let mut map = Map::new();
    let (data, encoding) = match core::str::from_utf8(bytes) {
        Ok(text) => (text.to_owned(), "utf8"),
        Err(_) => (base64(bytes), "base64"),
    };
    map.insert("data".to_owned(), data.into());
    map.insert("encoding".to_owned(), encoding.into());
    map.insert("bytes".to_owned(), bytes.len().into());
    map
}

fn base64(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let b = [chunk[0], chunk.get(1).copied().unwrap_or(0), chunk.get(2).copied().unwrap_or(0)];
        let n = u32::from(b[0]) << 16 | u32::from(b[1]) << 8 | u32::from(b[2]);
        for i in 0..4 {
            let digit = ALPHABET[(n >> (18 - 6 * i)) as usize & 63];
            out.push(if i <= chunk.len() { digit as char } else { '=' });
        }
    }
    out
}

/// The reverse of [`base64`]; `None` when the text is not base64.
pub fn unbase64(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut acc, mut bits) = (0_u32, 0);
    for &c in text.trim_end_matches('=').as_bytes() {
        let digit = ALPHABET.iter().position(|&a| a == c)?;
        acc = acc << 6 | digit as u32;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push((acc >> bits) as u8);
        }
    }
    Some(out)
}

/// The numbers of the bits that are set, lowest first (a CPU or node mask).
pub fn bit_list(mask: &[u8]) -> Vec<usize> {
    let bit = |(i, byte): (usize, &u8)| {
        let byte = *byte;
        (0..8).filter(move |b| byte >> b & 1 == 1).map(move |b| i * 8 + b)
    };
    mask.iter().enumerate().flat_map(bit).collect()
}

/// Text split into its lines, without the empty last one.
pub fn lines(bytes: &[u8]) -> Vec<&[u8]> {
    bytes.split(|&b| b == b'\n').filter(|line| !line.is_empty()).collect()
}

/// A decimal number in raw text; `None` when it is none.
pub fn number<T: core::str::FromStr>(bytes: &[u8]) -> Option<T> {
    core::str::from_utf8(bytes).ok()?.trim().parse().ok()
}
