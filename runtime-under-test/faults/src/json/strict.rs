//! A JSON reader that refuses repeated member names, and a repair for text that is not clean JSON.
//!
//! A rewritten configuration must differ only where the fault wants it. `serde_json::Value` silently
//! keeps the last of two equal names, so a rewrite would also heal a configuration whose repeated name
//! the runtime has to refuse; text that this module calls unclean is therefore left alone.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// A value in which no object repeats a name.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Strict)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without repeated names")
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(Value::Number(v.into()))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(Value::Number(v.into()))
    }

    fn visit_f64<E: Error>(self, v: f64) -> Result<Value, E> {
        Number::from_f64(v).map(Value::Number).ok_or_else(|| E::custom("not a JSON number"))
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(Value::String(v.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(Strict(item)) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some((name, Strict(value))) = map.next_entry::<String, Strict>()? {
            if members.insert(name.clone(), value).is_some() {
                return Err(A::Error::custom(format!("repeated name {name:?}")));
            }
        }
        Ok(Value::Object(members))
    }
}

/// Parses `bytes` when they are clean: UTF-8, JSON, no repeated names. `None` otherwise.
pub fn parse(bytes: &[u8]) -> Option<Value> {
    serde_json::from_slice::<Strict>(bytes).ok().map(|s| s.0)
}

/// Reads text that is not clean as leniently as possible: UTF-16 by its byte order mark or zero bytes,
/// invalid UTF-8 replaced, a UTF-8 byte order mark skipped, the last of repeated names kept.
pub fn parse_leniently(bytes: &[u8]) -> Option<Value> {
    let text = decode(bytes);
    serde_json::from_str(text.trim_start_matches('\u{feff}')).ok()
}

/// The names of the outermost object's members, in the order of the text.
pub fn member_names(bytes: &[u8]) -> Vec<String> {
    struct Names;
    impl<'de> Visitor<'de> for Names {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vec<String>, A::Error> {
            let mut names = Vec::new();
            while let Some((name, _)) = map.next_entry::<String, serde::de::IgnoredAny>()? {
                names.push(name);
            }
            Ok(names)
        }
    }
    serde_json::Deserializer::from_slice(bytes).deserialize_map(Names).unwrap_or_default()
}

fn decode(bytes: &[u8]) -> String {
    let utf16 = |little: bool| {
        let units: Vec<u16> = bytes
            .chunks_exact(2)
            .map(|p| if little { u16::from_le_bytes([p[0], p[1]]) } else { u16::from_be_bytes([p[0], p[1]]) })
            .collect();
        String::from_utf16_lossy(&units)
    };
    match bytes {
        [0xff, 0xfe, ..] | [b'{', 0, ..] => utf16(true),
        [0xfe, 0xff, ..] | [0, b'{', ..] => utf16(false),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_names_are_noticed_at_any_depth() {
        assert!(parse(br#"{"a":1,"b":{"c":2}}"#).is_some());
        assert!(parse(br#"{"a":1,"a":2}"#).is_none());
        assert!(parse(br#"{"a":[{"b":1,"b":1}]}"#).is_none());
        assert_eq!(parse_leniently(br#"{"a":1,"a":2}"#), Some(serde_json::json!({"a": 2})));
    }

    #[test]
    fn other_encodings_are_read_leniently_only() {
        let utf16: Vec<u8> = "{\"a\":1}".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert!(parse(&utf16).is_none());
        assert_eq!(parse_leniently(&utf16), Some(serde_json::json!({"a": 1})));
        assert!(parse(b"{\"a\":\"\xff\"}").is_none());
        assert!(parse_leniently(b"{\"a\":\"\xff\"}").is_some());
    }

    #[test]
    fn the_order_of_members_is_seen() {
        assert_eq!(member_names(br#"{"b":{"x":1},"a":[2]}"#), ["b", "a"]);
        assert!(member_names(b"[1]").is_empty());
    }

    #[test]
    fn the_largest_limit_survives() {
        assert_eq!(parse(b"{\"a\":18446744073709551615}"), Some(serde_json::json!({"a": u64::MAX})));
    }
}
