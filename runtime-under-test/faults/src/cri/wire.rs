//! Protocol buffers to JSON and back, as far as CRI needs it: proto3, no groups, no floats but doubles.
//!
//! Members are named as in the interface; absent means default. What the interface does not know is kept
//! under the member `#unknown` as `hex:...` and written back as it came.

use std::fmt::Write;

use serde_json::{Map, Value};

use super::interface::{Field, Kind, interface};

/// Member that keeps fields which are not in the interface.
const UNKNOWN: &str = "#unknown";

/// Deepest nesting of messages that is followed.
const DEPTH: usize = 32;

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(n)?;
        self.rest = rest;
        Some(head)
    }

    fn block(&mut self) -> Option<&'a [u8]> {
        let n = usize::try_from(self.varint()?).ok()?;
        self.take(n)
    }

    fn skip(&mut self, wire: u64) -> Option<()> {
        match wire {
            0 => self.varint().map(|_| ()),
            1 => self.take(8).map(|_| ()),
            2 => self.block().map(|_| ()),
            5 => self.take(4).map(|_| ()),
            _ => None,
        }
    }
}

/// Decodes `bytes` as `message`; `None` when they are not one.
pub fn decode(message: &str, bytes: &[u8]) -> Option<Value> {
    decode_at(message, bytes, DEPTH)
}

fn decode_at(message: &str, bytes: &[u8], depth: usize) -> Option<Value> {
    let fields = interface().messages.get(message)?;
    let depth = depth.checked_sub(1)?;
    let mut object = Map::new();
    let mut unknown = String::new();
    let mut reader = Reader { rest: bytes };
    while !reader.rest.is_empty() {
        let start = reader.rest;
        let key = reader.varint()?;
        let (number, wire) = (u32::try_from(key >> 3).ok()?, key & 7);
        let field = fields.iter().find(|f| f.number == number && wire_fits(f, wire));
        let Some(field) = field else {
            reader.skip(wire)?;
            unknown.push_str(&hex(&start[..start.len() - reader.rest.len()]));
            continue;
        };
        read_field(field, wire, &mut reader, &mut object, depth)?;
    }
    if !unknown.is_empty() {
        object.insert(UNKNOWN.to_owned(), Value::String(format!("hex:{unknown}")));
    }
    Some(Value::Object(object))
}

fn wire_fits(field: &Field, wire: u64) -> bool {
    match field.kind {
        Kind::Integer | Kind::Boolean => wire == 0 || (field.repeated && wire == 2),
        Kind::Double => wire == 1,
        _ => wire == 2,
    }
}

fn read_field(
    field: &Field,
    wire: u64,
    reader: &mut Reader<'_>,
    object: &mut Map<String, Value>,
    depth: usize,
) -> Option<()> {
    let values: Vec<Value> = match &field.kind {
        Kind::Integer if wire == 2 => {
            let mut packed = Reader { rest: reader.block()? };
            let mut all = Vec::new();
            while !packed.rest.is_empty() {
                all.push(Value::from(packed.varint()? as i64));
            }
            all
        }
        Kind::Integer => vec![Value::from(reader.varint()? as i64)],
        Kind::Boolean => vec![Value::Bool(reader.varint()? != 0)],
        Kind::Double => {
            let raw: [u8; 8] = reader.take(8)?.try_into().ok()?;
            vec![Value::from(f64::from_le_bytes(raw))]
        }
        Kind::Text => vec![Value::String(String::from_utf8(reader.block()?.to_vec()).ok()?)],
        Kind::Octets => vec![Value::String(format!("hex:{}", hex(reader.block()?)))],
        Kind::Message(name) => vec![decode_at(name, reader.block()?, depth)?],
        Kind::TextMap => {
            let (name, value) = read_entry(reader.block()?)?;
            let map = object.entry(field.name.clone()).or_insert_with(|| Value::Object(Map::new()));
            map.as_object_mut()?.insert(name, Value::String(value));
            return Some(());
        }
    };
    if field.repeated {
        let list = object.entry(field.name.clone()).or_insert_with(|| Value::Array(Vec::new()));
        list.as_array_mut()?.extend(values);
    } else if let Some(value) = values.into_iter().next_back() {
        object.insert(field.name.clone(), value);
    }
    Some(())
}

fn read_entry(bytes: &[u8]) -> Option<(String, String)> {
    let mut reader = Reader { rest: bytes };
    let (mut name, mut value) = (String::new(), String::new());
    while !reader.rest.is_empty() {
        let key = reader.varint()?;
        match key {
            10 => name = String::from_utf8(reader.block()?.to_vec()).ok()?,
            18 => value = String::from_utf8(reader.block()?.to_vec()).ok()?,
            other => reader.skip(other & 7)?,
        }
    }
    Some((name, value))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.strip_prefix("hex:").unwrap_or(text).as_bytes();
    digits
        .chunks_exact(2)
        .filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8 & 0x7f) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_block(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_varint(out, u64::from(number) << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Encodes a value as `message`. Members of a wrong type and unknown names are left out.
pub fn encode(message: &str, value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    let Some((fields, object)) = interface().messages.get(message).zip(value.as_object()) else { return out };
    for field in fields {
        match object.get(&field.name) {
            None | Some(Value::Null) => {}
            Some(Value::Array(items)) if field.repeated => {
                for item in items {
                    put_value(&mut out, field, item, true);
                }
            }
            Some(single) => put_value(&mut out, field, single, false),
        }
    }
    if let Some(Value::String(raw)) = object.get(UNKNOWN) {
        out.extend(unhex(raw));
    }
    out
}

/// Writes one value; defaults of single fields are left out, as proto3 wants it.
fn put_value(out: &mut Vec<u8>, field: &Field, value: &Value, in_list: bool) {
    match &field.kind {
        Kind::Integer | Kind::Boolean => {
            let bits = value.as_i64().map(|i| i as u64).or_else(|| value.as_u64());
            let bits = bits.or_else(|| value.as_bool().map(u64::from)).unwrap_or(0);
            if bits != 0 || in_list {
                put_varint(out, u64::from(field.number) << 3);
                put_varint(out, bits);
            }
        }
        Kind::Double => {
            let number = value.as_f64().unwrap_or(0.0);
            if number != 0.0 || in_list {
                put_varint(out, u64::from(field.number) << 3 | 1);
                out.extend(number.to_le_bytes());
            }
        }
        Kind::Text | Kind::Octets => {
            let text = value.as_str().unwrap_or_default();
            let bytes = if field.kind == Kind::Octets { unhex(text) } else { text.as_bytes().to_vec() };
            if !bytes.is_empty() || in_list {
                put_block(out, field.number, &bytes);
            }
        }
        Kind::Message(name) => put_block(out, field.number, &encode(name, value)),
        Kind::TextMap => {
            for (name, text) in value.as_object().into_iter().flatten() {
                let mut entry = Vec::new();
                put_block(&mut entry, 1, name.as_bytes());
                put_block(&mut entry, 2, text.as_str().unwrap_or_default().as_bytes());
                put_block(out, field.number, &entry);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn messages_survive_the_round_trip() {
        let request = json!({
            "config": {
                "metadata": {"name": "p", "uid": "u", "attempt": 3},
                "labels": {"a": "b", "c": ""},
                "dns_config": {"servers": ["1.1.1.1", ""]},
                "linux": {"security_context": {"namespace_options": {"pid": 1}, "supplemental_groups": [0, 7, -1]}},
            },
            "runtime_handler": "h",
        });
        let bytes = encode("RunPodSandboxRequest", &request);
        assert_eq!(decode("RunPodSandboxRequest", &bytes), Some(request));
        let output = json!({"stdout": "hex:00ff", "exit_code": 3});
        assert_eq!(decode("ExecSyncResponse", &encode("ExecSyncResponse", &output)), Some(output));
    }

    #[test]
    fn unknown_fields_survive() {
        let mut bytes = encode("VersionResponse", &json!({"version": "v"}));
        let strange = [0xf8, 0x3f, 0x05, 0xfa, 0x3f, 0x01, 0x61];
        bytes.extend(strange);
        let decoded = decode("VersionResponse", &bytes).unwrap();
        assert_eq!(decoded["version"], "v");
        assert_eq!(encode("VersionResponse", &decoded), bytes);
    }

    #[test]
    fn garbage_is_refused_not_guessed() {
        for bad in [&[0xff][..], &[0x0a, 0x05, 0x61], &[0x0a, 0x01, 0xff], &[0x0b]] {
            assert_eq!(decode("VersionResponse", bad), None, "{bad:?}");
        }
        assert_eq!(decode("NoSuchMessage", &[]), None);
    }
}
