//! Applying edits.

use serde_json::{Map, Number, Value};

use super::edit::{Edit, Vars, expand};
use super::path::{Path, Select, Step, position, scalar_text};

/// Calls `f` on every value that `steps` select below `value`.
fn each(value: &mut Value, steps: &[Step], f: &mut dyn FnMut(&mut Value)) {
    let Some((step, rest)) = steps.split_first() else { return f(value) };
    match (value, &step.select) {
        (Value::Object(map), select) => {
            for (name, child) in map.iter_mut() {
                let selected = match select {
                    Select::Name(want) => want == name,
                    Select::Any => true,
                    Select::Index(_) => false,
                };
                if selected && step.admits(Some(name), child) {
                    each(child, rest, f);
                }
            }
        }
        (Value::Array(items), select) => {
            let only = match select {
                Select::Any => None,
                Select::Index(i) => match position(*i, items.len()) {
                    Some(at) => Some(at),
                    None => return,
                },
                Select::Name(_) => return,
            };
            for (at, child) in items.iter_mut().enumerate() {
                if only.is_none_or(|o| o == at) && step.admits(None, child) {
                    each(child, rest, f);
                }
            }
        }
        _ => {}
    }
}

fn remove(value: &mut Value, steps: &[Step]) {
    let Some((last, parents)) = steps.split_last() else { return };
    each(value, parents, &mut |parent| match parent {
        Value::Object(map) => {
            let doomed: Vec<String> = map
                .iter()
                .filter(|(name, child)| match &last.select {
                    Select::Name(want) => want == *name && last.admits(Some(name), child),
                    Select::Any => last.admits(Some(name), child),
                    Select::Index(_) => false,
                })
                .map(|(name, _)| name.clone())
                .collect();
            for name in doomed {
                map.remove(&name);
            }
        }
        Value::Array(items) => match &last.select {
            Select::Any => items.retain(|child| !last.admits(None, child)),
            Select::Index(i) => {
                if let Some(at) = position(*i, items.len())
                    && last.admits(None, &items[at])
                {
                    items.remove(at);
                }
            }
            Select::Name(_) => {}
        },
        _ => {}
    });
}

/// Sets the last member under every parent; missing members along plain names are created as objects.
fn put(value: &mut Value, steps: &[Step], new: &Value, only_absent: bool) {
    let Some((step, rest)) = steps.split_first() else {
        if !only_absent || value.is_null() {
            *value = new.clone();
        }
        return;
    };
    if let (Value::Object(map), Select::Name(name)) = (&mut *value, &step.select)
        && step.filters.is_empty()
    {
        // Below a missing member there is nothing for a wildcard to find.
        let plain = |s: &Step| matches!(s.select, Select::Name(_)) && s.filters.is_empty();
        if !map.contains_key(name) && !rest.iter().all(plain) {
            return;
        }
        let child = map.entry(name.clone()).or_insert(Value::Null);
        if child.is_null() && !rest.is_empty() {
            *child = Value::Object(Map::new());
        }
        return put(child, rest, new, only_absent);
    }
    each(value, std::slice::from_ref(step), &mut |child| put(child, rest, new, only_absent));
}

fn number(value: f64, like: &Number) -> Value {
    if like.is_f64() || value.fract() != 0.0 {
        return Number::from_f64(value).map_or(Value::Null, Value::Number);
    }
    if value < 0.0 { Value::from(value as i64) } else { Value::from(value as u64) }
}

/// Integers keep their exact value where a float could not hold it.
fn add(n: &Number, delta: f64) -> Value {
    if let Some(i) = n.as_i64().filter(|_| delta.fract() == 0.0) {
        return Value::from(i.saturating_add(delta as i64));
    }
    if let Some(u) = n.as_u64().filter(|_| delta.fract() == 0.0) {
        let step = delta.abs() as u64;
        return Value::from(if delta < 0.0 { u.saturating_sub(step) } else { u.saturating_add(step) });
    }
    number(n.as_f64().unwrap_or_default() + delta, n)
}

fn expand_value(value: &Value, vars: &dyn Vars) -> Value {
    match value {
        Value::String(s) => Value::String(expand(s, vars)),
        Value::Array(items) => Value::Array(items.iter().map(|v| expand_value(v, vars)).collect()),
        Value::Object(map) => {
            Value::Object(map.iter().map(|(k, v)| (k.clone(), expand_value(v, vars))).collect())
        }
        other => other.clone(),
    }
}

fn arrays(root: &mut Value, path: &Path, f: &dyn Fn(&mut Vec<Value>)) {
    each(root, &path.steps, &mut |v| {
        if let Value::Array(items) = v {
            f(items);
        }
    });
}

fn strings(root: &mut Value, path: &Path, f: &dyn Fn(&str) -> String) {
    each(root, &path.steps, &mut |v| {
        if let Value::String(s) = v {
            *s = f(s);
        }
    });
}

fn numbers(root: &mut Value, path: &Path, f: &dyn Fn(&Number) -> Value) {
    each(root, &path.steps, &mut |v| {
        if let Value::Number(n) = v {
            *v = f(n);
        }
    });
}

fn first(root: &mut Value, path: &Path) -> Option<Value> {
    let mut found = None;
    each(root, &path.steps, &mut |v| {
        found.get_or_insert_with(|| v.clone());
    });
    found
}

fn concat(root: &mut Value, to: &Path, from: &Path, front: bool) {
    let Some(Value::Array(moved)) = first(root, from) else { return };
    let mut target = match first(root, to) {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    };
    let at = if front { 0 } else { target.len() };
    target.splice(at..at, moved);
    remove(root, &from.steps);
    put(root, &to.steps, &Value::Array(target), false);
}

fn dedup(items: &mut Vec<Value>, key: &str) {
    let mut seen: Vec<String> = Vec::new();
    let mut kept: Vec<Value> = Vec::new();
    for item in std::mem::take(items).into_iter().rev() {
        let name = item.get(key).map(scalar_text);
        if name.as_ref().is_some_and(|n| seen.contains(n)) {
            continue;
        }
        seen.extend(name);
        kept.push(item);
    }
    kept.reverse();
    *items = kept;
}

fn split(items: &mut Vec<Value>, key: &str) {
    *items = std::mem::take(items)
        .into_iter()
        .flat_map(|item| {
            let parts = item.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
            if parts.len() < 2 {
                return vec![item];
            }
            let one = |part: Value| {
                let mut copy = item.clone();
                copy[key] = Value::Array(vec![part]);
                copy
            };
            parts.into_iter().map(one).collect()
        })
        .collect();
}

/// Whether `text` is a version by `SemVer` 2.0.0 (three numbers, optional pre-release and build parts).
pub fn is_semver(text: &str) -> bool {
    let (text, build) = text.split_once('+').map_or((text, None), |(t, b)| (t, Some(b)));
    let (core, pre) = text.split_once('-').map_or((text, None), |(c, p)| (c, Some(p)));
    let numeric = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    let plain = |s: &str| numeric(s) && (s == "0" || !s.starts_with('0'));
    let label = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    core.split('.').count() == 3
        && core.split('.').all(plain)
        && pre.is_none_or(|p| p.split('.').all(|s| label(s) && (!numeric(s) || plain(s))))
        && build.is_none_or(|b| b.split('.').all(label))
}

/// Applies `edit` to `root`.
pub fn apply(edit: &Edit, root: &mut Value, vars: &dyn Vars) {
    match edit {
        Edit::Drop(path) => remove(root, &path.steps),
        Edit::Set(path, new) => {
            let new = expand_value(new, vars);
            each(root, &path.steps, &mut |v| *v = new.clone());
        }
        Edit::Put(path, new) => put(root, &path.steps, &expand_value(new, vars), false),
        Edit::Default(path, new) => put(root, &path.steps, &expand_value(new, vars), true),
        Edit::Concat(to, from) => concat(root, to, from, false),
        Edit::ConcatFront(to, from) => concat(root, to, from, true),
        Edit::Copy(from, to) => {
            if let Some(value) = first(root, from) {
                put(root, &to.steps, &value, false);
            }
        }
        Edit::Add(path, delta) => numbers(root, path, &|n| add(n, *delta)),
        Edit::Mul(path, factor) => {
            numbers(root, path, &|n| number((n.as_f64().unwrap_or_default() * factor).round(), n));
        }
        Edit::Clamp(path, min, max) => numbers(root, path, &|n| {
            let value = n.as_f64().unwrap_or_default();
            if (*min..=*max).contains(&value) {
                Value::Number(n.clone())
            } else {
                number(value.clamp(*min, *max), n)
            }
        }),
        _ => apply_to_text_or_array(edit, root, vars),
    }
}

fn apply_to_text_or_array(edit: &Edit, root: &mut Value, vars: &dyn Vars) {
    match edit {
        Edit::Append(path, new) => arrays(root, path, &|a| a.push(expand_value(new, vars))),
        Edit::Prepend(path, new) => arrays(root, path, &|a| a.insert(0, expand_value(new, vars))),
        Edit::Truncate(path, n) => arrays(root, path, &|a| a.truncate(*n)),
        Edit::Pop(path) => arrays(root, path, &|a| {
            a.pop();
        }),
        Edit::Shift(path) => arrays(root, path, &|a| {
            a.drain(..1.min(a.len()));
        }),
        Edit::Reverse(path) => arrays(root, path, &|a| a.reverse()),
        Edit::Dedup(path, key) => arrays(root, path, &|a| dedup(a, key)),
        Edit::Split(path, key) => arrays(root, path, &|a| split(a, key)),
        Edit::Ensure(path, key, new) => arrays(root, path, &|a| {
            let wanted = new.get(key);
            if !a.iter().any(|item| item.get(key) == wanted) {
                a.push(expand_value(new, vars));
            }
        }),
        Edit::CallerEnv(path) => arrays(root, path, &|a| {
            a.extend(std::env::vars().map(|(name, value)| Value::String(format!("{name}={value}"))));
        }),
        Edit::Prefix(path, text) => strings(root, path, &|s| format!("{}{s}", expand(text, vars))),
        Edit::Suffix(path, text) => strings(root, path, &|s| format!("{s}{}", expand(text, vars))),
        Edit::Subst(path, from, to) => strings(root, path, &|s| s.replace(from.as_str(), to)),
        Edit::Absolute(path) => strings(root, path, &|s| {
            if s.starts_with('/') { s.to_owned() } else { format!("/{}", s.trim_start_matches("./")) }
        }),
        Edit::Semver(path, new) => {
            strings(root, path, &|s| if is_semver(s) { s.to_owned() } else { new.clone() });
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::edit::NoVars;
    use super::*;
    use serde_json::json;

    fn after(edit: &str, mut value: Value) -> Value {
        Edit::parse(edit).unwrap().apply(&mut value, &NoVars);
        value
    }

    #[test]
    fn edits_do_what_they_say() {
        for (edit, before, want) in [
            ("drop /a", json!({"a": 1, "b": 2}), json!({"b": 2})),
            ("drop /a/*[=x]", json!({"a": ["x", "y", "x"]}), json!({"a": ["y"]})),
            ("set /a/b 3", json!({"a": {}}), json!({"a": {}})),
            ("put /a/b/c 3", json!({}), json!({"a": {"b": {"c": 3}}})),
            ("put /m/*/x 1", json!({"m": [{}, {"x": 2}]}), json!({"m": [{"x": 1}, {"x": 1}]})),
            ("default /m/*/x 1", json!({"m": [{}, {"x": 2}]}), json!({"m": [{"x": 1}, {"x": 2}]})),
            ("add /a -1", json!({"a": u64::MAX}), json!({"a": u64::MAX - 1})),
            ("mul /a 2", json!({"a": 3}), json!({"a": 6})),
            ("clamp /a 1 5", json!({"a": -3}), json!({"a": 1})),
            ("append /a 1", json!({"a": []}), json!({"a": [1]})),
            ("truncate /a 1", json!({"a": [1, 2]}), json!({"a": [1]})),
            ("pop /a", json!({"a": [1, 2]}), json!({"a": [1]})),
            ("shift /a", json!({"a": [1, 2]}), json!({"a": [2]})),
            ("reverse /a", json!({"a": [1, 2]}), json!({"a": [2, 1]})),
            (
                "dedup /a k",
                json!({"a": [{"k": 1, "v": 1}, {"k": 1, "v": 2}, {"k": 2}]}),
                json!({"a": [{"k": 1, "v": 2}, {"k": 2}]}),
            ),
            ("concat /a /b", json!({"a": [1], "b": [2]}), json!({"a": [1, 2]})),
            ("concat-front /a /b", json!({"b": [2]}), json!({"a": [2]})),
            ("copy /a /b", json!({"a": 1}), json!({"a": 1, "b": 1})),
            ("prefix /a x", json!({"a": "y"}), json!({"a": "xy"})),
            ("suffix /a x", json!({"a": "y"}), json!({"a": "yx"})),
            ("subst /a .. ''", json!({"a": "../y"}), json!({"a": "/y"})),
            ("ensure /a k {\"k\":1}", json!({"a": [{"k": 1}]}), json!({"a": [{"k": 1}]})),
            ("ensure /a k {\"k\":1}", json!({"a": []}), json!({"a": [{"k": 1}]})),
            ("absolute /a", json!({"a": "./x"}), json!({"a": "/x"})),
            ("semver /a 1.0.2", json!({"a": "v1"}), json!({"a": "1.0.2"})),
            ("split /a k", json!({"a": [{"k": [1, 2]}]}), json!({"a": [{"k": [1]}, {"k": [2]}]})),
        ] {
            assert_eq!(after(edit, before), want, "{edit}");
        }
    }

    #[test]
    fn versions_are_judged_by_semver() {
        for good in ["1.0.0", "1.0.2-dev", "1.3.0+dev", "1.0.0-rc.1", "10.20.30"] {
            assert!(is_semver(good), "{good}");
        }
        for bad in ["", "1", "1.0", "v1.0.0", "1.0.0.0", "01.0.0", "banana", "1.0.0-", "1.0.0-01"] {
            assert!(!is_semver(bad), "{bad}");
        }
    }
}
