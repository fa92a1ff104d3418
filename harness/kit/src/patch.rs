//! JSON values by pointer: how a case changes a configuration, validly or not.

use serde_json::{Map, Value};

/// Sets the value at an RFC 6901 pointer; objects on the way are made, `-` appends to an array. A scalar on the way
/// is replaced by an object, so that every malformed shape can be expressed.
pub fn set(root: &mut Value, pointer: &str, value: Value) {
    let mut at = root;
    for raw in pointer.split('/').skip(1) {
        let key = raw.replace("~1", "/").replace("~0", "~");
        at = step(at, key);
    }
    *at = value;
}

fn step(at: &mut Value, key: String) -> &mut Value {
    if let Value::Array(items) = at {
        let index = key.parse().unwrap_or(items.len()).min(items.len());
        if index == items.len() {
            items.push(Value::Null);
        }
        return &mut items[index];
    }
    if !at.is_object() {
        *at = Value::Object(Map::new());
    }
    match at {
        Value::Object(map) => map.entry(key).or_insert(Value::Null),
        other => other,
    }
}

/// Removes what stands at an RFC 6901 pointer and gives it back.
pub fn remove(root: &mut Value, pointer: &str) -> Option<Value> {
    let (parent, raw) = pointer.rsplit_once('/')?;
    let key = raw.replace("~1", "/").replace("~0", "~");
    match root.pointer_mut(parent)? {
        Value::Object(map) => map.shift_remove(&key),
        Value::Array(items) => {
            let index: usize = key.parse().ok()?;
            (index < items.len()).then(|| items.remove(index))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{remove, set};
    use serde_json::json;

    #[test]
    fn sets_and_removes() {
        let mut v = json!({"a": {"b": [1, 2]}});
        set(&mut v, "/a/b/-", json!(3));
        set(&mut v, "/a/c/d", json!(true));
        set(&mut v, "/a/b/0", json!("x"));
        assert_eq!(v, json!({"a": {"b": ["x", 2, 3], "c": {"d": true}}}));
        assert_eq!(remove(&mut v, "/a/b/1"), Some(json!(2)));
        assert_eq!(remove(&mut v, "/a/none"), None);
        set(&mut v, "/a/b", json!("scalar"));
        set(&mut v, "/a/b/c", json!(1));
        assert_eq!(v["a"]["b"], json!({"c": 1}));
    }
}
