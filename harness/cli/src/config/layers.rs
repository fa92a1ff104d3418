//! Reading the files and variables, and laying one over the other.

use super::keys::{self, DESCRIPTION, KEYS, Key};
use crate::usage::{self, Failure};
use std::collections::BTreeMap;
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// The reference of every key, and what holds where nobody says otherwise.
pub const DEFAULT: &str = include_str!("default.toml");

/// Bytes that a configuration file may hold.
const MOST_BYTES: u64 = 1 << 20;

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The reference file in this program.
    Default,
    /// The user's file.
    User(PathBuf),
    /// The project's file.
    Project(PathBuf),
    /// A gate of one of these.
    Gate(String, Box<Origin>),
    /// An environment variable.
    Variable(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => write!(f, "default"),
            Self::User(path) => write!(f, "user file {}", path.display()),
            Self::Project(path) => write!(f, "project file {}", path.display()),
            Self::Gate(name, file) => write!(f, "gate {name} ({file})"),
            Self::Variable(name) => write!(f, "variable {name}"),
        }
    }
}

/// One value that holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// Its key.
    pub key: &'static Key,
    /// Its value.
    pub value: Value,
    /// As the command line would be given it.
    pub texts: Vec<String>,
    /// Who says so.
    pub origin: Origin,
}

/// What a named gate sets, from the file that counts least to the one that counts most.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Gate {
    /// One line for people.
    pub description: String,
    /// Its values.
    pub settings: Vec<Setting>,
}

/// All that was read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Layers {
    settings: Vec<Setting>,
    /// By name.
    pub gates: BTreeMap<String, Gate>,
    /// What is odd, but no error: unknown keys.
    pub warnings: Vec<String>,
}

/// A file to read: its text and who it belongs to.
#[derive(Debug, Clone)]
pub struct Source {
    /// Who it belongs to.
    pub origin: Origin,
    /// Its text.
    pub text: String,
}

impl Layers {
    /// Reads the sources, the one that counts least first; the reference file comes before all of them.
    pub fn read(sources: &[Source], tool_version: &str) -> Result<Self, Failure> {
        let mut layers = Self::default();
        layers.source(&Source { origin: Origin::Default, text: DEFAULT.to_owned() }, tool_version)?;
        for source in sources {
            layers.source(source, tool_version)?;
        }
        Ok(layers)
    }

    fn source(&mut self, source: &Source, tool_version: &str) -> Result<(), Failure> {
        let origin = &source.origin;
        let table: Table = toml::from_str(&source.text)
            .map_err(|e| Failure::usage(format!("{origin}: {e}")).hint("the file is TOML"))?;
        check_version(&table, origin, tool_version)?;
        for (name, value) in &table {
            match (name.as_str(), value) {
                ("min-version", _) => {}
                ("gate", Value::Table(gates)) => self.gate_tables(gates, origin)?,
                ("run" | "bench", Value::Table(inner)) => {
                    for (key, value) in inner {
                        self.value(name, key, value, origin)?;
                    }
                }
                ("run" | "bench" | "gate", _) => return Err(wrong(origin, name, "a table")),
                _ => self.value("", name, value, origin)?,
            }
        }
        Ok(())
    }

    fn value(&mut self, table: &str, name: &str, value: &Value, origin: &Origin) -> Result<(), Failure> {
        match keys::find(table, name) {
            Some(key) => self.settings.push(setting(key, value, origin, &key.path())?),
            None => self.unknown(table, name, origin),
        }
        Ok(())
    }

    fn gate_tables(&mut self, gates: &Table, origin: &Origin) -> Result<(), Failure> {
        for (gate, inner) in gates {
            let Value::Table(inner) = inner else {
                return Err(wrong(origin, &format!("gate.{gate}"), "a table"));
            };
            let own = Origin::Gate(gate.clone(), Box::new(origin.clone()));
            self.gates.entry(gate.clone()).or_default();
            for (name, value) in inner {
                let path = format!("gate.{gate}.{name}");
                if name == DESCRIPTION {
                    let Value::String(text) = value else { return Err(wrong(origin, &path, "a text")) };
                    self.gates.entry(gate.clone()).or_default().description.clone_from(text);
                    continue;
                }
                match keys::find("run", name).filter(|k| k.name != "gate") {
                    Some(key) => {
                        let setting = setting(key, value, &own, &path)?;
                        self.gates.entry(gate.clone()).or_default().settings.push(setting);
                    }
                    None => self.unknown(&format!("gate.{gate}"), name, origin),
                }
            }
        }
        Ok(())
    }

    fn unknown(&mut self, table: &str, name: &str, origin: &Origin) {
        let in_table = if table.starts_with("gate.") { "run" } else { table };
        let tops = ["min-version", "run", "bench", "gate"].iter().copied().filter(|_| table.is_empty());
        let known = KEYS.iter().filter(|k| k.table == in_table).map(|k| k.name).chain(tops);
        let path = if table.is_empty() { name.to_owned() } else { format!("{table}.{name}") };
        let elsewhere = KEYS.iter().find(|k| k.name == name && !table.starts_with("gate."));
        let hint = match (keys::nearest(name, known), elsewhere) {
            (Some(near), _) => format!("; did you mean `{near}`?"),
            (None, Some(key)) => format!("; did you mean `{}`?", key.path()),
            (None, None) => "; `plimsoll config default` lists the keys".to_owned(),
        };
        self.warnings.push(format!("{origin}: unknown key `{path}`{hint}"));
    }

    /// What holds for each key that anybody sets, with `gate` laid over the files and the variables over the gate.
    pub fn effective(
        &self,
        gate: Option<&str>,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Vec<Setting>, Failure> {
        let variables = from_variables(variable)?;
        let named = |settings: &[Setting]| {
            settings.iter().rev().find(|s| s.key.path() == "run.gate").map(|s| s.texts[0].clone())
        };
        let gate = gate.map(str::to_owned).or_else(|| named(&variables)).or_else(|| named(&self.settings));
        let laid = match &gate {
            Some(name) => self.gate(name)?.settings.clone(),
            None => Vec::new(),
        };
        let all: Vec<&Setting> = self.settings.iter().chain(&laid).chain(&variables).collect();
        let last = |key: &Key| all.iter().rev().find(|s| s.key == key).map(|s| (*s).clone());
        Ok(KEYS.iter().filter_map(last).collect())
    }

    /// A gate by its name.
    pub fn gate(&self, name: &str) -> Result<&Gate, Failure> {
        self.gates.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.gates.keys().map(String::as_str).collect();
            let near = keys::nearest(name, known.iter().copied());
            let hint = match near {
                Some(near) => format!("did you mean `{near}`? known: {}", known.join(", ")),
                None => format!("known: {}; a file adds one as [gate.{name}]", known.join(", ")),
            };
            Failure::usage(format!("no gate is called `{name}`")).hint(hint)
        })
    }
}

fn setting(key: &'static Key, value: &Value, origin: &Origin, path: &str) -> Result<Setting, Failure> {
    let texts = key.texts(value).ok_or_else(|| wrong(origin, path, key.wants()))?;
    Ok(Setting { key, value: value.clone(), texts, origin: origin.clone() })
}

fn wrong(origin: &Origin, path: &str, wants: &str) -> Failure {
    Failure::usage(format!("{origin}: `{path}` takes {wants}"))
        .hint("`plimsoll config default` shows every key")
}

fn from_variables(variable: &dyn Fn(&str) -> Option<String>) -> Result<Vec<Setting>, Failure> {
    let mut found = Vec::new();
    for key in KEYS {
        let name = key.variable();
        let Some(text) = variable(&name) else { continue };
        let origin = Origin::Variable(name.clone());
        let value = key
            .of_variable(&text)
            .ok_or_else(|| Failure::usage(format!("{name}={text}: it takes {}", key.wants())))?;
        found.push(setting(key, &value, &origin, &name)?);
    }
    Ok(found)
}

fn check_version(table: &Table, origin: &Origin, tool: &str) -> Result<(), Failure> {
    let Some(wanted) = table.get("min-version") else { return Ok(()) };
    let numbers = |text: &str| -> Option<Vec<u32>> { text.split('.').map(|n| n.parse().ok()).collect() };
    let parsed = wanted.as_str().and_then(numbers).filter(|n| (1..=3).contains(&n.len()));
    let Some(needed) = parsed else {
        return Err(wrong(origin, "min-version", "a version such as \"0.1.0\""));
    };
    // The version of a package has three numbers; what comes after a hyphen does not make it older here.
    let have = numbers(tool.split(['-', '+']).next().unwrap_or(tool)).unwrap_or_default();
    if have < needed {
        let needed = wanted.as_str().unwrap_or_default();
        return Err(Failure::usage(format!("{origin}: it needs plimsoll {needed}, and this is {tool}"))
            .hint("update plimsoll, or take min-version out if the file does without"));
    }
    Ok(())
}

/// The files that count here: the user's and the project's, or only the one that was named. `none` reads no file.
pub fn sources(named: Option<&Path>, home: Option<&Path>) -> Result<Vec<Source>, Failure> {
    if let Some(path) = named {
        if path == Path::new("none") {
            return Ok(Vec::new());
        }
        let text = read(path)?.ok_or_else(|| {
            Failure::usage(format!("cannot read {}: it does not exist", path.display()))
                .hint("name a file, or `none` to do without files")
        })?;
        return Ok(vec![Source { origin: Origin::Project(path.to_owned()), text }]);
    }
    let mut found = Vec::new();
    if let Some(path) = home.map(|h| h.join("plimsoll/config.toml"))
        && let Some(text) = read(&path)?
    {
        found.push(Source { origin: Origin::User(path), text });
    }
    let project = ["plimsoll.toml", ".config/plimsoll.toml"].map(PathBuf::from);
    let mut own = Vec::new();
    for path in project {
        if let Some(text) = read(&path)? {
            own.push(Source { origin: Origin::Project(path), text });
        }
    }
    if own.len() > 1 {
        return Err(Failure::usage("both plimsoll.toml and .config/plimsoll.toml are there")
            .hint("keep one of them: with two, nobody knows which counts"));
    }
    found.extend(own);
    Ok(found)
}

/// The user's directory for configuration.
pub fn home(variable: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let absolute = |text: String| Some(PathBuf::from(text)).filter(|p| p.is_absolute());
    variable("XDG_CONFIG_HOME")
        .and_then(absolute)
        .or_else(|| variable("HOME").and_then(absolute).map(|h| h.join(".config")))
}

/// The text of a file; `None` when it does not exist.
fn read(path: &Path) -> Result<Option<String>, Failure> {
    let meta = match std::fs::metadata(path) {
        Ok(meta) => meta,
        Err(e) if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&e.kind()) => return Ok(None),
        Err(e) => return Err(usage::file("read", path, &e)),
    };
    if !meta.is_file() || meta.len() > MOST_BYTES {
        return Err(Failure::usage(format!("{} is no plain file of at most 1 MiB", path.display())));
    }
    std::fs::read_to_string(path).map(Some).map_err(|e| usage::file("read", path, &e))
}
