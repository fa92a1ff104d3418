//! The path language of the fault table: where in a JSON document an edit applies.
//!
//! `/a/b` names members, `/-1` or `/0` array elements, `/*` every member or element. Filters narrow a
//! step: `[k=v]` member `k` is the scalar `v`, `[k!=v]` it is not (or is missing), `[k]` has `k`,
//! `[!k]` lacks `k` (or it is null), `[=v]` / `[!=v]` the value itself, `[^p]` / `[!^p]` starts with,
//! `[~s]` / `[!~s]` contains,
//! `[in=@set]` / `[!in=@set]` the value is (not) in a named set, `[k!in=@set]` member `k` is not,
//! `[name in=@set]` / `[name!in=@set]` the member's own name, `[is=string]` the JSON type,
//! `[a<b]` member `a` is a number below member `b`.
//! An empty member name is written `''`.

use serde_json::Value;

use super::sets;

/// A parsed path.
#[derive(Clone, Debug, PartialEq)]
pub struct Path {
    /// Steps from the root.
    pub steps: Vec<Step>,
}

/// One step of a path.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What the step selects.
    pub select: Select,
    /// Conditions on what it selects; all must hold.
    pub filters: Vec<Filter>,
}

/// What one step selects.
#[derive(Clone, Debug, PartialEq)]
pub enum Select {
    /// A member by name.
    Name(String),
    /// An array element; negative counts from the end.
    Index(i64),
    /// Every member or element.
    Any,
}

/// One condition in brackets.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter {
    subject: Subject,
    negated: bool,
    test: Test,
}

#[derive(Clone, Debug, PartialEq)]
enum Subject {
    Itself,
    OwnName,
    Member(String),
}

#[derive(Clone, Debug, PartialEq)]
enum Test {
    Present,
    Equals(String),
    StartsWith(String),
    Contains(String),
    InSet(String),
    Type(String),
    BelowMember(String),
}

impl Path {
    /// Parses the text form. The error says which part is wrong.
    pub fn parse(text: &str) -> Result<Path, String> {
        if text == "/" {
            return Ok(Path { steps: Vec::new() });
        }
        let mut steps = Vec::new();
        for part in split_steps(text)? {
            steps.push(Step::parse(&part).map_err(|e| format!("path {text:?}: {e}"))?);
        }
        Ok(Path { steps })
    }

    /// The number of places in `root` that the path selects.
    pub fn count(&self, root: &Value) -> usize {
        count(root, &self.steps)
    }
}

fn count(value: &Value, steps: &[Step]) -> usize {
    let Some((step, rest)) = steps.split_first() else { return 1 };
    let admit =
        |name: Option<&str>, child: &Value| if step.admits(name, child) { count(child, rest) } else { 0 };
    match (value, &step.select) {
        (Value::Object(map), Select::Name(name)) => map.get(name).map_or(0, |c| admit(Some(name), c)),
        (Value::Object(map), Select::Any) => map.iter().map(|(n, c)| admit(Some(n), c)).sum(),
        (Value::Array(items), Select::Any) => items.iter().map(|c| admit(None, c)).sum(),
        (Value::Array(items), Select::Index(i)) => {
            position(*i, items.len()).and_then(|at| items.get(at)).map_or(0, |c| admit(None, c))
        }
        _ => 0,
    }
}

/// The position that index `i` (negative from the end) means in an array of `len` elements.
pub fn position(i: i64, len: usize) -> Option<usize> {
    let len = i64::try_from(len).ok()?;
    let at = if i < 0 { len + i } else { i };
    (0..len).contains(&at).then(|| usize::try_from(at).ok()).flatten()
}

fn split_steps(text: &str) -> Result<Vec<String>, String> {
    let Some(body) = text.strip_prefix('/') else { return Err(format!("path {text:?} must start with '/'")) };
    let mut steps = vec![String::new()];
    let mut depth = 0_u32;
    for c in body.chars() {
        match c {
            '[' => depth += 1,
            ']' => depth = depth.checked_sub(1).ok_or_else(|| format!("path {text:?}: stray ']'"))?,
            '/' if depth == 0 => {
                steps.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(last) = steps.last_mut() {
            last.push(c);
        }
    }
    if depth == 0 { Ok(steps) } else { Err(format!("path {text:?}: '[' is not closed")) }
}

impl Step {
    fn parse(text: &str) -> Result<Step, String> {
        let (head, mut rest) = text.split_at(text.find('[').unwrap_or(text.len()));
        let select = match head {
            "" => return Err("an empty step (write '' for an empty name)".to_owned()),
            "*" => Select::Any,
            "''" => Select::Name(String::new()),
            _ => head.parse().map_or_else(|_| Select::Name(head.to_owned()), Select::Index),
        };
        let mut filters = Vec::new();
        while !rest.is_empty() {
            let body = rest.strip_prefix('[').ok_or("text after a filter")?;
            let end = body.find(']').ok_or("'[' is not closed")?;
            filters.push(Filter::parse(&body[..end])?);
            rest = &body[end + 1..];
        }
        Ok(Step { select, filters })
    }

    /// Whether the step's filters hold for `value`, whose own member name (in an object) is `name`.
    pub fn admits(&self, name: Option<&str>, value: &Value) -> bool {
        self.filters.iter().all(|f| f.holds(name, value))
    }
}

impl Filter {
    fn parse(text: &str) -> Result<Filter, String> {
        let member = |name: &str| match name {
            "" => Subject::Itself,
            "name " | "name" => Subject::OwnName,
            other => Subject::Member(other.to_owned()),
        };
        let build =
            |subject: &str, negated: bool, test: Test| Filter { subject: member(subject), negated, test };
        if let Some(kind) = text.strip_prefix("is=") {
            return Ok(build("", false, Test::Type(kind.to_owned())));
        }
        if let Some(kind) = text.strip_prefix("is!=") {
            return Ok(build("", true, Test::Type(kind.to_owned())));
        }
        if let Some((subject, set)) = text.split_once("in=@") {
            sets::named(set)?;
            let (subject, negated) = subject.strip_suffix('!').map_or((subject, false), |s| (s, true));
            return Ok(build(subject, negated, Test::InSet(set.to_owned())));
        }
        for (sign, make) in
            [('^', Test::StartsWith as fn(String) -> Test), ('~', Test::Contains), ('=', Test::Equals)]
        {
            if let Some((subject, value)) = text.split_once(sign) {
                let (subject, negated) = subject.strip_suffix('!').map_or((subject, false), |s| (s, true));
                return Ok(build(subject, negated, make(value.to_owned())));
            }
        }
        if let Some((subject, other)) = text.split_once('<') {
            return Ok(build(subject, false, Test::BelowMember(other.to_owned())));
        }
        match text.strip_prefix('!') {
            Some("") => Err("an empty filter".to_owned()),
            Some(name) => Ok(build(name, true, Test::Present)),
            None if text.is_empty() => Err("an empty filter".to_owned()),
            None => Ok(build(text, false, Test::Present)),
        }
    }

    fn holds(&self, name: Option<&str>, value: &Value) -> bool {
        let met = match &self.subject {
            Subject::Itself => self.test.holds(Some(value), value),
            Subject::OwnName => {
                let own = name.map(|n| Value::String(n.to_owned()));
                self.test.holds(own.as_ref(), value)
            }
            Subject::Member(member) => self.test.holds(value.get(member), value),
        };
        met != self.negated
    }
}

impl Test {
    fn holds(&self, subject: Option<&Value>, whole: &Value) -> bool {
        let text = subject.map(scalar_text);
        let text = text.as_deref();
        match self {
            Test::Present => subject.is_some_and(|v| !v.is_null()),
            Test::Equals(want) => text == Some(want),
            Test::StartsWith(want) => text.is_some_and(|t| t.starts_with(want.as_str())),
            Test::Contains(want) => text.is_some_and(|t| t.contains(want.as_str())),
            Test::InSet(set) => {
                text.is_some_and(|t| sets::named(set).is_ok_and(|members| members.contains(&t)))
            }
            Test::Type(kind) => subject.is_some_and(|v| type_name(v) == kind),
            Test::BelowMember(other) => {
                let number = |v: Option<&Value>| v.and_then(Value::as_f64);
                number(subject).zip(number(whole.get(other))).is_some_and(|(a, b)| a < b)
            }
        }
    }
}

/// The JSON type of a value, as schemas name it.
pub fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// A scalar as plain text (strings without quotes); containers as compact JSON.
pub fn scalar_text(value: &Value) -> String {
    match value {
        Value::String(s) => s.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn hits(path: &str, value: &Value) -> usize {
        Path::parse(path).unwrap().count(value)
    }

    #[test]
    fn steps_and_filters_select() {
        let v = json!({"m": [{"d": "/a", "o": ["ro", "rw"]}, {"d": "b"}, {}], "n": {"": 1, "x": "y"}, "q": 1, "b": 2});
        for (path, want) in [
            ("/", 1),
            ("/m", 1),
            ("/m/*", 3),
            ("/m/-1", 1),
            ("/m/7", 0),
            ("/m/*[d]", 2),
            ("/m/*[!d]", 1),
            ("/m/*[d=/a]/o/*[=ro]", 1),
            ("/m/*[d!=/a]", 2),
            ("/m/*/d[^/]", 1),
            ("/m/*/d[!^/]", 1),
            ("/n/''", 1),
            ("/n/*[is=number]", 1),
            ("/n/*[is!=number]", 1),
            ("/n/*[name=x]", 1),
            ("/m/*/o/*[in=@mount-options]", 2),
            ("/m/*/d[~a]", 1),
        ] {
            assert_eq!(hits(path, &v), want, "{path}");
        }
        assert_eq!(hits("/x[q<b]", &json!({"x": {"q": 1, "b": 2}})), 1);
        assert_eq!(hits("/x[b<q]", &json!({"x": {"q": 1, "b": 2}})), 0);
    }

    #[test]
    fn bad_paths_are_refused() {
        for bad in ["", "a", "/a//b", "/a[", "/a]", "/a[]", "/a[x]y", "/a[in=@nosuchset]"] {
            assert!(Path::parse(bad).is_err(), "{bad}");
        }
    }
}
