//! Parsing of flags: `--name value`, `--name=value`, `-n value`, also after the container id, `--` ends.

use crate::bail;
use crate::error::{Error, Result};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::str::FromStr;

/// A flag that a command takes.
#[derive(Debug, Clone, Copy)]
pub struct Flag {
    /// Long name without dashes.
    pub name: &'static str,
    short: Option<char>,
    takes_value: bool,
}

impl Flag {
    /// A flag with a value.
    pub const fn value(name: &'static str, short: Option<char>) -> Self {
        Self { name, short, takes_value: true }
    }

    /// A flag without.
    pub const fn switch(name: &'static str, short: Option<char>) -> Self {
        Self { name, short, takes_value: false }
    }
}

/// Flags and words of a command line.
#[derive(Debug, Default)]
pub struct Parsed {
    values: Vec<(&'static str, OsString)>,
    /// What is no flag.
    pub words: Vec<OsString>,
}

impl Parsed {
    /// Flags up to the first word; the rest are words.
    pub fn until_word(flags: &[Flag], args: &[OsString]) -> Result<Self> {
        Self::parse(flags, args, 1)
    }

    /// Flags up to the second word: behind the container id begins a foreign command line.
    pub fn until_second_word(flags: &[Flag], args: &[OsString]) -> Result<Self> {
        Self::parse(flags, args, 2)
    }

    /// Flags at any place.
    pub fn anywhere(flags: &[Flag], args: &[OsString]) -> Result<Self> {
        Self::parse(flags, args, usize::MAX)
    }

    fn parse(flags: &[Flag], args: &[OsString], stop_at: usize) -> Result<Self> {
        let mut parsed = Self::default();
        let mut rest = args.iter();
        while let Some(arg) = rest.next() {
            if parsed.words.len() + 1 >= stop_at && !arg.as_bytes().starts_with(b"-") {
                parsed.words.push(arg.clone());
                parsed.words.extend(rest.cloned());
                break;
            }
            if arg == "--" {
                parsed.words.extend(rest.cloned());
                break;
            }
            let bytes = arg.as_bytes();
            if !bytes.starts_with(b"-") || bytes == b"-" {
                parsed.words.push(arg.clone());
                continue;
            }
            let (name, given) = match bytes.iter().position(|b| *b == b'=') {
                Some(at) => (&bytes[..at], Some(OsStr::from_bytes(&bytes[at + 1..]).to_owned())),
                None => (bytes, None),
            };
            let Some(flag) = flags.iter().find(|f| f.matches(name)) else {
                bail!("flag provided but not defined: {}", arg.display());
            };
            let value = match (flag.takes_value, given) {
                (true, Some(value)) => value,
                (true, None) => rest
                    .next()
                    .cloned()
                    .ok_or_else(|| Error::new(format!("flag needs an argument: {}", arg.display())))?,
                (false, None) => OsString::from("true"),
                (false, Some(value)) if value == "true" || value == "false" => value,
                (false, Some(_)) => bail!("flag takes no value: {}", arg.display()),
            };
            parsed.values.push((flag.name, value));
        }
        Ok(parsed)
    }

    fn last(&self, name: &str) -> Option<&OsString> {
        self.values.iter().rev().find(|(n, _)| *n == name).map(|(_, v)| v)
    }

    /// True when a switch is given.
    pub fn on(&self, name: &str) -> bool {
        self.last(name).is_some_and(|v| v == "true")
    }

    /// A value that is a path.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.last(name).map(PathBuf::from)
    }

    /// A value that is text.
    pub fn text(&self, name: &str) -> Result<Option<&str>> {
        match self.last(name) {
            None => Ok(None),
            Some(v) => v.to_str().map(Some).ok_or_else(|| Error::new(format!("--{name} is not UTF-8"))),
        }
    }

    /// All values of a flag that may be repeated.
    pub fn all(&self, name: &str) -> Result<Vec<String>> {
        let values = self.values.iter().filter(|(n, _)| *n == name);
        values
            .map(|(_, v)| {
                v.to_str().map(str::to_owned).ok_or_else(|| Error::new(format!("--{name} is not UTF-8")))
            })
            .collect()
    }

    /// A value that is a number or the like.
    pub fn parsed<T: FromStr>(&self, name: &str) -> Result<Option<T>> {
        match self.text(name)? {
            None => Ok(None),
            Some(text) => match text.parse() {
                Ok(value) => Ok(Some(value)),
                Err(_) => bail!("invalid value {text:?} for flag --{name}"),
            },
        }
    }

    /// The container id: exactly one word, or with `more` at least one.
    pub fn id(&self, more: bool) -> Result<&str> {
        let Some(first) = self.words.first() else { bail!("container id is missing") };
        if !more && self.words.len() > 1 {
            bail!("requires exactly 1 argument, the container id; got {}", self.words.len());
        }
        match first.to_str() {
            Some("") | None => bail!("container id is empty or not UTF-8"),
            Some(id) => Ok(id),
        }
    }
}

impl Flag {
    fn matches(&self, given: &[u8]) -> bool {
        match given.strip_prefix(b"--") {
            Some(long) => long == self.name.as_bytes(),
            None => {
                self.short.is_some_and(|c| given == [b'-', c as u8]) || &given[1..] == self.name.as_bytes()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAGS: &[Flag] = &[Flag::value("bundle", Some('b')), Flag::switch("force", Some('f'))];

    fn args(list: &[&str]) -> Vec<OsString> {
        list.iter().map(OsString::from).collect()
    }

    #[test]
    fn flags_may_come_after_the_id() {
        let p = Parsed::anywhere(FLAGS, &args(&["id", "-b", "x", "--force"])).unwrap();
        assert_eq!((p.id(false).unwrap(), p.path("bundle"), p.on("force")), ("id", Some("x".into()), true));
    }

    #[test]
    fn behind_the_id_begins_a_foreign_command_line() {
        let p = Parsed::until_second_word(FLAGS, &args(&["--force", "id", "-b", "x", "sh", "-f"])).unwrap();
        assert_eq!(p.words, args(&["id", "sh", "-f"]));
    }

    #[test]
    fn mistakes_are_named() {
        for bad in [&["--nope"][..], &["--bundle"], &["--force=maybe"]] {
            assert!(Parsed::anywhere(FLAGS, &args(bad)).is_err());
        }
    }
}
