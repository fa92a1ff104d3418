//! The keys that a configuration file may hold, and what stands behind each.

use toml::Value;

/// What a key takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A text.
    Text,
    /// A list of texts.
    List,
    /// `true` or `false`.
    Flag,
    /// A whole number, not negative.
    Whole,
    /// A number above 0.
    Number,
}

/// A key: the flag of the same name is what it sets.
#[derive(Debug, PartialEq, Eq)]
pub struct Key {
    /// The table, which is also the verb; empty for options of every verb.
    pub table: &'static str,
    /// The name, as the flag has it.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
}

const fn key(table: &'static str, name: &'static str, kind: Kind) -> Key {
    Key { table, name, kind }
}

/// All keys, in the order of the reference file.
pub static KEYS: &[Key] = &[
    key("", "out", Kind::Text),
    key("", "work-dir", Kind::Text),
    key("", "color", Kind::Text),
    key("run", "target", Kind::List),
    key("run", "profile", Kind::Text),
    key("run", "filter", Kind::List),
    key("run", "gate", Kind::Text),
    key("run", "jobs", Kind::Whole),
    key("run", "retries", Kind::Whole),
    key("run", "max-fail", Kind::Whole),
    key("run", "timeout-scale", Kind::Number),
    key("run", "expectations", Kind::Text),
    key("run", "strict", Kind::Flag),
    key("run", "report", Kind::List),
    key("run", "format", Kind::Text),
    key("run", "junit-attachments", Kind::Text),
    key("run", "html-assets", Kind::Text),
    key("bench", "scenario", Kind::List),
    key("bench", "gate", Kind::Text),
    key("bench", "seed", Kind::Whole),
    key("bench", "budget", Kind::Whole),
    key("bench", "density", Kind::Whole),
];

/// What a gate's table may hold beside the keys of `[run]`.
pub const DESCRIPTION: &str = "description";

impl Key {
    /// `run.profile`, or `out`.
    pub fn path(&self) -> String {
        if self.table.is_empty() { self.name.to_owned() } else { format!("{}.{}", self.table, self.name) }
    }

    /// The environment variable that sets it.
    pub fn variable(&self) -> String {
        let name = self.name.replace('-', "_").to_uppercase();
        if self.table == "bench" { format!("PLIMSOLL_BENCH_{name}") } else { format!("PLIMSOLL_{name}") }
    }

    /// The identifier of the command line's argument.
    pub fn argument(&self) -> String {
        self.name.replace('-', "_")
    }

    /// What a value of this kind looks like.
    pub fn wants(&self) -> &'static str {
        match self.kind {
            Kind::Text => "a text",
            Kind::List => "a list of texts",
            Kind::Flag => "true or false",
            Kind::Whole => "a whole number, not negative",
            Kind::Number => "a number above 0",
        }
    }

    /// The value as the command line would be given it; `None` when it is of the wrong kind.
    pub fn texts(&self, value: &Value) -> Option<Vec<String>> {
        let one = |text: String| Some(vec![text]);
        match (self.kind, value) {
            (Kind::Text, Value::String(text)) => one(text.clone()),
            (Kind::List, Value::Array(items)) => {
                items.iter().map(|i| i.as_str().map(str::to_owned)).collect()
            }
            (Kind::Flag, Value::Boolean(on)) => one(on.to_string()),
            (Kind::Whole, Value::Integer(n)) if *n >= 0 => one(n.to_string()),
            (Kind::Number, Value::Integer(n)) if *n > 0 => one(n.to_string()),
            (Kind::Number, Value::Float(x)) if x.is_finite() && *x > 0.0 => one(x.to_string()),
            _ => None,
        }
    }

    /// Reads the value of an environment variable; `None` when it is of the wrong kind.
    pub fn of_variable(&self, text: &str) -> Option<Value> {
        let value = match self.kind {
            Kind::Text => Value::String(text.to_owned()),
            Kind::List => {
                Value::Array(text.split_whitespace().map(|t| Value::String(t.to_owned())).collect())
            }
            Kind::Flag => Value::Boolean(match text {
                "1" | "true" | "yes" => true,
                "" | "0" | "false" | "no" => false,
                _ => return None,
            }),
            Kind::Whole => Value::Integer(text.parse().ok()?),
            Kind::Number => Value::Float(text.parse().ok()?),
        };
        self.texts(&value).map(|_| value)
    }
}

/// The key of a table by its name.
pub fn find(table: &str, name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|k| k.table == table && k.name == name)
}

/// The known name that is nearest to a mistyped one, when one is near enough to be meant.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let near = known.map(|k| (strsim::damerau_levenshtein(name, k), k)).min();
    near.filter(|(distance, k)| *distance <= 1 + k.len() / 3).map(|(_, k)| k)
}

#[cfg(test)]
mod tests {
    use super::{find, nearest};

    #[test]
    fn a_slip_of_the_finger_is_recognised() {
        let known = || ["profile", "retries", "strict", "report"].into_iter();
        assert_eq!(nearest("profil", known()), Some("profile"));
        assert_eq!(nearest("retrise", known()), Some("retries"));
        assert_eq!(nearest("reports", known()), Some("report"));
        assert_eq!(nearest("colour-of-the-sky", known()), None);
    }

    #[test]
    fn values_are_held_to_their_kind() {
        let jobs = find("run", "jobs").unwrap();
        assert!(jobs.texts(&toml::Value::Integer(-1)).is_none());
        assert!(jobs.texts(&toml::Value::String("3".into())).is_none());
        assert_eq!(jobs.texts(&toml::Value::Integer(3)).unwrap(), ["3"]);
        assert!(jobs.of_variable("three").is_none());
        let target = find("run", "target").unwrap();
        let two = target.of_variable("runc crun?cgroups=legacy").unwrap();
        assert_eq!(target.texts(&two).unwrap(), ["runc", "crun?cgroups=legacy"]);
    }
}
