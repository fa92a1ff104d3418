//! Reading config objects strictly: a wrong type is an error that names its place; `null` is the same as absent.

use serde_json::{Map, Value};

use super::Error;

/// An object of the config and its place.
#[derive(Debug, Clone)]
pub(super) struct Fields<'a> {
    map: Option<&'a Map<String, Value>>,
    at: String,
}

/// An [`Error::Invalid`].
pub(super) fn invalid(field: impl Into<String>, why: impl Into<String>) -> Error {
    Error::Invalid { field: field.into(), why: why.into() }
}

impl<'a> Fields<'a> {
    /// `value` is an object, or `null` for an empty one.
    pub fn of(value: &'a Value, at: impl Into<String>) -> Result<Self, Error> {
        let at = at.into();
        match value {
            Value::Null => Ok(Self { map: None, at }),
            Value::Object(map) => Ok(Self { map: Some(map), at }),
            _ => Err(invalid(at, "must be an object")),
        }
    }

    /// The place of a field.
    pub fn place(&self, key: &str) -> String {
        format!("{}.{key}", self.at)
    }

    /// This object's own place.
    pub fn at(&self) -> &str {
        &self.at
    }

    /// The value, unless it is absent or `null`.
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.map?.get(key).filter(|v| !v.is_null())
    }

    /// An object; an absent one is empty.
    pub fn object(&self, key: &str) -> Result<Fields<'a>, Error> {
        Fields::of(self.get(key).unwrap_or(&Value::Null), self.place(key))
    }

    /// A list of objects; an absent one is empty.
    pub fn objects(&self, key: &str) -> Result<Vec<Fields<'a>>, Error> {
        match self.get(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) => items
                .iter()
                .enumerate()
                .map(|(i, v)| Fields::of(v, format!("{}[{i}]", self.place(key))))
                .collect(),
            Some(_) => Err(invalid(self.place(key), "must be an array")),
        }
    }

    /// The object's entries, in the order of their keys.
    pub fn entries(&self) -> impl Iterator<Item = (&'a str, &'a Value)> {
        self.map.into_iter().flatten().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k.as_str(), v))
    }

    /// A signed integer.
    pub fn int(&self, key: &str) -> Result<Option<i64>, Error> {
        match self.get(key) {
            None => Ok(None),
            Some(v) => match v.as_i64() {
                Some(n) => Ok(Some(n)),
                None => Err(invalid(self.place(key), format!("is {v}: must be a 64-bit integer"))),
            },
        }
    }

    /// An unsigned integer of at most `max`.
    pub fn uint(&self, key: &str, max: u64) -> Result<Option<u64>, Error> {
        match self.get(key) {
            None => Ok(None),
            Some(v) => match v.as_u64().filter(|n| *n <= max) {
                Some(n) => Ok(Some(n)),
                None => Err(invalid(self.place(key), format!("is {v}: must be an integer from 0 to {max}"))),
            },
        }
    }

    /// A 32-bit unsigned integer.
    pub fn uint32(&self, key: &str) -> Result<Option<u32>, Error> {
        Ok(self.uint(key, u64::from(u32::MAX))?.map(|n| n as u32))
    }

    /// Text.
    pub fn text(&self, key: &str) -> Result<Option<&'a str>, Error> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(s)) => Ok(Some(s)),
            Some(_) => Err(invalid(self.place(key), "must be a string")),
        }
    }

    /// A boolean.
    pub fn flag(&self, key: &str) -> Result<Option<bool>, Error> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(b)) => Ok(Some(*b)),
            Some(_) => Err(invalid(self.place(key), "must be true or false")),
        }
    }
}
