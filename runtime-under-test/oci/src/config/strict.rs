//! JSON rules that the parser library does not keep: encoding and unique member names.

use crate::error::{Error, Result};
use std::borrow::Cow;

/// The text of a document. JSON is UTF-8 (glossary.md); a byte order mark is no part of it.
pub fn utf8(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|e| Error::new(format!("is not UTF-8 text: {e}")))
}

/// Fails when any object repeats a member name (glossary.md: "JSON objects MUST NOT include duplicate
/// names"). `text` is already known to be valid JSON, so only strings and brackets matter.
pub fn no_duplicates(text: &str) -> Result<()> {
    let bytes = text.as_bytes();
    // Names seen in all open objects, and where each open container's names begin (None: an array).
    let mut names: Vec<Cow<'_, str>> = Vec::new();
    let mut open: Vec<Option<usize>> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'{' => open.push(Some(names.len())),
            b'[' => open.push(None),
            b'}' | b']' => {
                if let Some(Some(start)) = open.pop() {
                    names.truncate(start);
                }
            }
            b'"' => {
                let end = string_end(bytes, at);
                if let Some(Some(start)) = open.last()
                    && is_name(bytes, end)
                {
                    let name = unescape(&text[at..end]);
                    if names[*start..].contains(&name) {
                        return Err(Error::new(format!("duplicate member name {name:?} in one object")));
                    }
                    names.push(name);
                }
                at = end;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    Ok(())
}

/// Index just behind the closing quote of the string that starts at `at`.
fn string_end(bytes: &[u8], at: usize) -> usize {
    let mut i = at + 1;
    while i < bytes.len() {
        match bytes[i] {
            b'\\' => i += 2,
            b'"' => return i + 1,
            _ => i += 1,
        }
    }
    bytes.len()
}

/// A string is a member name exactly when a colon follows it.
fn is_name(bytes: &[u8], end: usize) -> bool {
    bytes[end..].iter().find(|b| !b.is_ascii_whitespace()) == Some(&b':')
}

fn unescape(quoted: &str) -> Cow<'_, str> {
    let inner = &quoted[1..quoted.len() - 1];
    if !inner.contains('\\') {
        return Cow::Borrowed(inner);
    }
    serde_json::from_str::<String>(quoted).map_or(Cow::Borrowed(inner), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_names_are_found_at_any_depth() {
        assert!(no_duplicates(r#"{"a":1,"b":{"a":2},"c":[{"a":1},{"a":1}]}"#).is_ok());
        assert!(no_duplicates(r#"{"a":1,"a":2}"#).is_err());
        assert!(no_duplicates(r#"{"x":[{"q":{"k":1, "k" :1}}]}"#).is_err());
        assert!(no_duplicates(r#"{"a":1,"\u0061":2}"#).is_err());
        assert!(no_duplicates(r#"{"a":"b","b":"a","c":"{\"a\":1}"}"#).is_ok());
    }

    #[test]
    fn bad_encoding_is_an_error() {
        assert!(utf8(b"{\"a\":\"\xff\"}").is_err());
    }
}
