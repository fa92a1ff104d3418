//! One value of a valid document replaced by one that its schema does not allow there.

use serde_json::{Value, json};

/// One change of a document.
pub struct Change {
    /// JSON pointer of the place.
    pub at: String,
    /// What is put there; `None` removes the member.
    pub value: Option<Value>,
}

impl Change {
    /// The document with the change.
    pub fn apply(&self, document: &Value) -> Value {
        let mut changed = document.clone();
        let (parent, name) = self.at.rsplit_once('/').unwrap();
        let name = name.replace("~1", "/").replace("~0", "~");
        match (changed.pointer_mut(parent).unwrap(), &self.value) {
            (Value::Object(map), Some(value)) => drop(map.insert(name, value.clone())),
            (Value::Object(map), None) => drop(map.remove(&name)),
            (Value::Array(list), Some(value)) => list[name.parse::<usize>().unwrap()] = value.clone(),
            (Value::Array(list), None) => drop(list.remove(name.parse().unwrap())),
            _ => panic!("{} has no members", self.at),
        }
        changed
    }

    /// The change in words.
    pub fn name(&self) -> String {
        match &self.value {
            Some(value) => format!("{} = {value}", self.at),
            None => format!("{} removed", self.at),
        }
    }
}

/// JSON pointers of all values below `value`.
fn pointers(value: &Value, at: &str, out: &mut Vec<String>) {
    let mut below = |name: String, v: &Value| {
        let pointer = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
        out.push(pointer.clone());
        pointers(v, &pointer, out);
    };
    match value {
        Value::Object(map) => map.iter().for_each(|(k, v)| below(k.clone(), v)),
        Value::Array(list) => list.iter().enumerate().for_each(|(i, v)| below(i.to_string(), v)),
        _ => {}
    }
}

/// Values of which most are of the wrong type anywhere.
fn values() -> [Value; 11] {
    [
        json!(null),
        json!(true),
        json!(7),
        json!(""),
        json!("\u{0}"),
        json!([[]]),
        json!([null]),
        json!({ "": {} }),
        json!(1.5),
        json!(i64::MIN),
        json!(u64::MAX),
    ]
}

fn same_kind(a: &Value, b: &Value) -> bool {
    std::mem::discriminant(a) == std::mem::discriminant(b)
}

/// Whether this value may stand in the place of `old`: one of the same type, apart from numbers that no member takes
/// (fractions, and integers outside of what the member can hold).
fn may_be_valid(at: &str, old: &Value, new: &Value) -> bool {
    // Anything that fits 64 bits: limits, and what the kernel itself clamps.
    const WIDE: [&str; 6] = ["/soft", "/hard", "/shares", "/period", "/value", "/valueTwo"];
    // In these two objects `null` counts as absence, as the programs that write them have it.
    const LENIENT: [&str; 2] = ["/linux/resources/", "/linux/seccomp/"];
    if new.is_null() && LENIENT.iter().any(|at_all| at.starts_with(at_all)) {
        return true;
    }
    if !same_kind(old, new) {
        return false;
    }
    match new {
        Value::Array(_) => false,
        Value::Number(n) if n.is_f64() => false,
        Value::Number(n) if n.as_u64() == Some(u64::MAX) => WIDE.iter().any(|end| at.ends_with(end)),
        Value::Number(n) if n.as_i64() == Some(i64::MIN) => at.ends_with("/secs"),
        _ => true,
    }
}

/// Every place with every value that cannot be right there.
pub fn wrong_types(document: &Value) -> Vec<Change> {
    let mut all = Vec::new();
    pointers(document, "", &mut all);
    let mut changes = Vec::new();
    for at in all {
        let Some(old) = document.pointer(&at) else { continue };
        for value in values() {
            if !may_be_valid(&at, old, &value) {
                changes.push(Change { at: at.clone(), value: Some(value) });
            }
        }
    }
    changes
}
