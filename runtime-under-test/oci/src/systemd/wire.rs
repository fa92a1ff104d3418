//! D-Bus messages: as much of the protocol (version 1, little endian) as calls to a service manager need.
//!
//! Every value is aligned to its size, counted from the start of the message; a body starts at a multiple of eight, so
//! it can be written on its own.

use crate::bail;
use crate::error::{Error, Result};

/// Largest message that is read, bytes. systemd's answers have some hundreds.
pub const MAX_MESSAGE: usize = 1 << 20;

/// A value of a unit's property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `s`
    Text(String),
    /// `b`
    Flag(bool),
    /// `t`
    Number(u64),
    /// `au`
    Numbers(Vec<u32>),
}

impl Value {
    fn signature(&self) -> &'static str {
        match self {
            Self::Text(_) => "s",
            Self::Flag(_) => "b",
            Self::Number(_) => "t",
            Self::Numbers(_) => "au",
        }
    }
}

/// A body that is being written.
#[derive(Debug, Default)]
pub struct Writer {
    /// What was written.
    pub bytes: Vec<u8>,
    /// The types of it.
    pub signature: String,
}

impl Writer {
    fn align(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }

    fn put_u32(&mut self, value: u32) {
        self.align(4);
        self.bytes.extend(value.to_le_bytes());
    }

    fn put_text(&mut self, text: &str) {
        self.put_u32(text.len() as u32);
        self.bytes.extend(text.as_bytes());
        self.bytes.push(0);
    }

    fn put_signature(&mut self, signature: &str) {
        self.bytes.push(signature.len() as u8);
        self.bytes.extend(signature.as_bytes());
        self.bytes.push(0);
    }

    /// An array whose elements begin at a multiple of `to`: its length in bytes stands before the padding.
    fn put_array(&mut self, to: usize, elements: impl FnOnce(&mut Self)) {
        self.put_u32(0);
        let at = self.bytes.len() - 4;
        self.align(to);
        let start = self.bytes.len();
        elements(self);
        let length = (self.bytes.len() - start) as u32;
        self.bytes[at..at + 4].copy_from_slice(&length.to_le_bytes());
    }

    /// `s`
    #[must_use]
    pub fn text(mut self, text: &str) -> Self {
        self.put_text(text);
        self.signature.push('s');
        self
    }

    /// `b`
    #[must_use]
    pub fn flag(mut self, flag: bool) -> Self {
        self.put_u32(u32::from(flag));
        self.signature.push('b');
        self
    }

    /// `a(sv)`
    #[must_use]
    pub fn properties(mut self, list: &[(&str, Value)]) -> Self {
        self.put_array(8, |out| {
            for (name, value) in list {
                out.align(8);
                out.put_text(name);
                out.put_signature(value.signature());
                match value {
                    Value::Text(text) => out.put_text(text),
                    Value::Flag(flag) => out.put_u32(u32::from(*flag)),
                    Value::Number(number) => {
                        out.align(8);
                        out.bytes.extend(number.to_le_bytes());
                    }
                    Value::Numbers(all) => out.put_array(4, |out| all.iter().for_each(|n| out.put_u32(*n))),
                }
            }
        });
        self.signature.push_str("a(sv)");
        self
    }

    /// `a(sa(sv))` without an element.
    #[must_use]
    pub fn no_units(mut self) -> Self {
        self.put_array(8, |_| ());
        self.signature.push_str("a(sa(sv))");
        self
    }
}

/// Where a method is.
#[derive(Debug, Clone, Copy)]
pub struct Method<'a> {
    /// Bus name of the service.
    pub service: &'a str,
    /// Object.
    pub path: &'a str,
    /// Interface.
    pub interface: &'a str,
    /// Name.
    pub name: &'a str,
}

/// A method call as it goes over the wire.
pub fn call(serial: u32, method: Method<'_>, body: &Writer) -> Vec<u8> {
    let mut out = Writer::default();
    // Little endian, METHOD_CALL, no flags, protocol 1.
    out.bytes.extend([b'l', 1, 0, 1]);
    out.put_u32(body.bytes.len() as u32);
    out.put_u32(serial);
    let fields = [
        (1, "o", method.path),
        (2, "s", method.interface),
        (3, "s", method.name),
        (6, "s", method.service),
        (8, "g", body.signature.as_str()),
    ];
    out.put_array(8, |out| {
        for (code, kind, value) in fields.into_iter().filter(|(.., v)| !v.is_empty()) {
            out.align(8);
            out.bytes.push(code);
            out.put_signature(kind);
            if kind == "g" { out.put_signature(value) } else { out.put_text(value) }
        }
    });
    out.align(8);
    out.bytes.extend(&body.bytes);
    out.bytes
}

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The answer to the call of this serial number.
    Return(u32),
    /// The refusal of the call of this serial number.
    Error(u32),
    /// Anything else: signals, calls.
    Other,
}

/// A message that came.
#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    /// What it is.
    pub kind: Kind,
    /// Name of the signal or method.
    pub member: String,
    /// Name of the error.
    pub error: String,
    signature: String,
    body: Vec<u8>,
}

/// Bytes that follow the first sixteen of a message: what is left of its header, and its body.
pub fn rest_length(head: &[u8; 16]) -> Result<usize> {
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]) as usize;
    if head[0] != b'l' || head[3] != 1 {
        bail!("the bus speaks another protocol");
    }
    let total = word(12).next_multiple_of(8).saturating_add(word(4));
    if total > MAX_MESSAGE {
        bail!("the bus sent a message of {total} bytes");
    }
    Ok(total)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, align: usize, count: usize) -> Result<&'a [u8]> {
        let start = self.at.next_multiple_of(align);
        let end = start.checked_add(count).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or_else(|| Error::new("the bus sent a message that is cut off"))?;
        self.at = end;
        Ok(&self.bytes[start..end])
    }

    fn u32(&mut self) -> Result<u32> {
        let bytes = self.take(4, 4)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn text(&mut self) -> Result<String> {
        let length = self.u32()? as usize;
        let text = String::from_utf8_lossy(self.take(1, length)?).into_owned();
        self.take(1, 1)?;
        Ok(text)
    }

    fn signature(&mut self) -> Result<String> {
        let length = usize::from(self.take(1, 1)?[0]);
        let text = String::from_utf8_lossy(self.take(1, length)?).into_owned();
        self.take(1, 1)?;
        Ok(text)
    }
}

impl Message {
    /// Reads a message: its first sixteen bytes and the rest.
    pub fn parse(head: &[u8; 16], rest: &[u8]) -> Result<Self> {
        let whole = [&head[..], rest].concat();
        let body_length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let body_start = whole.len().checked_sub(body_length).filter(|start| *start >= 16);
        let body_start = body_start.ok_or_else(|| Error::new("the bus sent a message that is cut off"))?;
        let mut reader = Reader { bytes: &whole[..body_start], at: 12 };
        let end = 16 + reader.u32()? as usize;
        let (mut reply, mut texts) = (0, [const { String::new() }; 9]);
        while reader.at < end {
            let code = usize::from(reader.take(8, 1)?[0]);
            match reader.signature()?.as_str() {
                "s" | "o" => {
                    let text = reader.text()?;
                    if let Some(place) = texts.get_mut(code) {
                        *place = text;
                    }
                }
                "g" => {
                    let text = reader.signature()?;
                    if let Some(place) = texts.get_mut(code) {
                        *place = text;
                    }
                }
                "u" => {
                    let number = reader.u32()?;
                    if code == 5 {
                        reply = number;
                    }
                }
                other => bail!("the bus sent a header field of type {other:?}"),
            }
        }
        let kind = match head[1] {
            2 => Kind::Return(reply),
            3 => Kind::Error(reply),
            _ => Kind::Other,
        };
        let [_, _, _, member, error, _, _, _, signature] = texts;
        Ok(Self { kind, member, error, signature, body: whole[body_start..].to_vec() })
    }

    /// The texts (`s`, `o`, and those in a variant) that the body begins with, numbers (`u`) left out.
    pub fn texts(&self) -> Result<Vec<String>> {
        let mut reader = Reader { bytes: &self.body, at: 0 };
        let mut all = Vec::new();
        for kind in self.signature.chars() {
            match kind {
                's' | 'o' => all.push(reader.text()?),
                'u' => drop(reader.u32()?),
                'v' if matches!(reader.signature()?.as_str(), "s" | "o") => all.push(reader.text()?),
                _ => break,
            }
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: &[u8]) -> Result<Message> {
        let head: [u8; 16] = bytes[..16].try_into().unwrap();
        assert_eq!(rest_length(&head)?, bytes.len() - 16);
        Message::parse(&head, &bytes[16..])
    }

    #[test]
    fn a_call_is_laid_out_as_the_protocol_says() {
        let body = Writer::default().text("a.scope").text("fail").properties(&[
            ("PIDs", Value::Numbers(vec![7])),
            ("Delegate", Value::Flag(true)),
            ("TasksMax", Value::Number(1 << 40)),
        ]);
        assert_eq!(body.signature, "ssa(sv)");
        // Two texts (4+7+1, 4+4+1), padding to 24, the array's length, padding to 32, elements.
        assert_eq!(&body.bytes[..12], b"\x07\0\0\0a.scope\0");
        assert_eq!(body.bytes[24..28], ((body.bytes.len() - 32) as u32).to_le_bytes());
        let method = Method { service: "org.x", path: "/org/x", interface: "org.x.M", name: "Go" };
        let bytes = call(9, method, &body);
        let message = parse(&bytes).unwrap();
        assert_eq!((message.kind, message.member.as_str()), (Kind::Other, "Go"));
        assert_eq!(message.texts().unwrap(), ["a.scope", "fail"]);
    }

    #[test]
    fn answers_and_variants_are_read() {
        // METHOD_RETURN to 3 with the body `v` of a text.
        let mut bytes = vec![b'l', 2, 1, 1];
        let body = b"\x01s\0\0\x03\0\0\0/a \0";
        bytes.extend((body.len() as u32).to_le_bytes());
        bytes.extend(5u32.to_le_bytes());
        let fields = [&[5, 1, b'u', 0][..], &3u32.to_le_bytes(), &[8, 1, b'g', 0, 1, b'v', 0]].concat();
        bytes.extend((fields.len() as u32).to_le_bytes());
        bytes.extend(&fields);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes.extend(body);
        let message = parse(&bytes).unwrap();
        assert_eq!(message.kind, Kind::Return(3));
        assert_eq!(message.texts().unwrap(), ["/a "]);
    }

    #[test]
    fn what_is_cut_off_or_garbled_is_an_error() {
        let body = Writer::default().text("x").flag(true).no_units();
        let method = Method { service: "s", path: "/p", interface: "i", name: "n" };
        let bytes = call(1, method, &body);
        for length in 16..bytes.len() {
            let head: [u8; 16] = bytes[..16].try_into().unwrap();
            // Whatever is missing, there is no panic.
            let _ = Message::parse(&head, &bytes[16..length]).and_then(|m| m.texts());
        }
        for at in 0..bytes.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut wrong = bytes.clone();
                wrong[at] = value;
                let head: [u8; 16] = wrong[..16].try_into().unwrap();
                let _ = rest_length(&head);
                let _ = Message::parse(&head, &wrong[16..]).and_then(|m| m.texts());
            }
        }
        let mut huge = [0u8; 16];
        huge[0] = b'l';
        huge[3] = 1;
        huge[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(rest_length(&huge).is_err());
    }
}
