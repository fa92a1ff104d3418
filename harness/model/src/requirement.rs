//! Requirements and their catalogue.
//!
//! A catalogue is a set of tab-separated files, one per specification file, with the header
//! `id file anchor lines level since class testable text how`. They are data of the suite that owns them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use crate::version::SpecVersion;

/// The RFC 2119 key word of a requirement, or where there is none, what stands in for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Level {
    /// MUST.
    #[serde(rename = "MUST")]
    Must,
    /// MUST NOT.
    #[serde(rename = "MUST NOT")]
    MustNot,
    /// REQUIRED.
    #[serde(rename = "REQUIRED")]
    Required,
    /// SHOULD.
    #[serde(rename = "SHOULD")]
    Should,
    /// SHOULD NOT.
    #[serde(rename = "SHOULD NOT")]
    ShouldNot,
    /// NOT RECOMMENDED.
    #[serde(rename = "NOT RECOMMENDED")]
    NotRecommended,
    /// MAY.
    #[serde(rename = "MAY")]
    May,
    /// MAY NOT, which is no RFC 2119 term.
    #[serde(rename = "MAY NOT")]
    MayNot,
    /// OPTIONAL.
    #[serde(rename = "OPTIONAL")]
    Optional,
    /// A norm in lower case.
    #[serde(rename = "implicit")]
    Implicit,
    /// In no specification, but callers depend on it.
    #[serde(rename = "de facto")]
    DeFacto,
}

/// What a violation of a requirement amounts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// A permission: behaviour is recorded as a fact, never judged.
    Record,
    /// A recommendation: `Warn`.
    Warn,
    /// An obligation: `Fail`.
    Fail,
}

impl Level {
    /// All levels, strongest first.
    pub const ALL: [Self; 11] = [
        Self::Must,
        Self::MustNot,
        Self::Required,
        Self::Should,
        Self::ShouldNot,
        Self::NotRecommended,
        Self::Optional,
        Self::May,
        Self::MayNot,
        Self::Implicit,
        Self::DeFacto,
    ];

    /// The word as the specification writes it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Must => "MUST",
            Self::MustNot => "MUST NOT",
            Self::Required => "REQUIRED",
            Self::Should => "SHOULD",
            Self::ShouldNot => "SHOULD NOT",
            Self::NotRecommended => "NOT RECOMMENDED",
            Self::May => "MAY",
            Self::MayNot => "MAY NOT",
            Self::Optional => "OPTIONAL",
            Self::Implicit => "implicit",
            Self::DeFacto => "de facto",
        }
    }

    /// MUST, MUST NOT and REQUIRED.
    pub fn is_must(self) -> bool {
        matches!(self, Self::Must | Self::MustNot | Self::Required)
    }

    /// SHOULD, SHOULD NOT and NOT RECOMMENDED.
    pub fn is_should(self) -> bool {
        matches!(self, Self::Should | Self::ShouldNot | Self::NotRecommended)
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.word() == text)
    }
}

/// One normative statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Requirement {
    /// Stable id, never reused.
    pub id: String,
    /// File of the specification.
    pub file: String,
    /// Anchor in that file, with its `#`; may be empty.
    pub anchor: String,
    /// Line numbers in that file, comma-separated.
    pub lines: String,
    /// Key word.
    pub level: Level,
    /// First version of the specification that says so.
    pub since: SpecVersion,
    /// `runtime`, `property`, `reject`, `emit`, `permission`, `meta` or a suite's own word.
    pub class: String,
    /// `yes`, or `partly: why`, or `no: why`.
    pub testable: String,
    /// What it says, in our own words.
    pub text: String,
    /// How it can be tested.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub how: String,
}

impl Requirement {
    /// What a violation amounts to. An OPTIONAL property is an obligation once it is present in the
    /// configuration (runtime.md, create: the properties MUST be applied), and what a runtime prints though it need
    /// not has to be as the specification describes it.
    pub fn severity(&self) -> Severity {
        match self.level {
            Level::Must | Level::MustNot | Level::Required | Level::DeFacto => Severity::Fail,
            Level::Optional if matches!(self.class.as_str(), "property" | "emit") => Severity::Fail,
            Level::Should | Level::ShouldNot | Level::NotRecommended | Level::Implicit => Severity::Warn,
            Level::Optional | Level::May | Level::MayNot => Severity::Record,
        }
    }

    /// Where a reader finds the clause, as `file#anchor`.
    pub fn clause(&self) -> String {
        format!("{}{}", self.file, self.anchor)
    }
}

/// A malformed catalogue.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// A line has the wrong number of columns or a word that is not known.
    #[error("{name}:{line}: {what}")]
    Line {
        /// Name of the file.
        name: String,
        /// 1-based line.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// Two rows share an id.
    #[error("requirement `{0}` stands in the catalogue twice")]
    Duplicate(String),
}

/// All requirements of one specification.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Catalogue {
    rows: Vec<Requirement>,
    index: BTreeMap<String, usize>,
}

impl Catalogue {
    /// Parses the files of a catalogue: `(name, text)` each, in the order of the specification.
    pub fn parse(files: &[(&str, &str)]) -> Result<Self, CatalogueError> {
        let mut catalogue = Self::default();
        for (name, text) in files {
            for (n, line) in text.lines().enumerate().skip(1) {
                if line.is_empty() || line.starts_with('#') {
                    continue;
                }
                let row = parse_line(line).map_err(|what| CatalogueError::Line {
                    name: (*name).to_owned(),
                    line: n + 1,
                    what,
                })?;
                catalogue.insert(row)?;
            }
        }
        Ok(catalogue)
    }

    /// Adds one row.
    pub fn insert(&mut self, row: Requirement) -> Result<(), CatalogueError> {
        if self.index.insert(row.id.clone(), self.rows.len()).is_some() {
            return Err(CatalogueError::Duplicate(row.id));
        }
        self.rows.push(row);
        Ok(())
    }

    /// Joins two catalogues.
    pub fn extend(&mut self, other: Self) -> Result<(), CatalogueError> {
        other.rows.into_iter().try_for_each(|row| self.insert(row))
    }

    /// Finds a row by id.
    pub fn get(&self, id: &str) -> Option<&Requirement> {
        self.index.get(id).map(|&i| &self.rows[i])
    }

    /// All rows in the order of the specification.
    pub fn rows(&self) -> &[Requirement] {
        &self.rows
    }
}

fn parse_line(line: &str) -> Result<Requirement, String> {
    let columns: Vec<&str> = line.split('\t').collect();
    let [id, file, anchor, lines, level, since, class, testable, text, how] = columns[..] else {
        return Err(format!("{} columns instead of 10", columns.len()));
    };
    Ok(Requirement {
        id: id.to_owned(),
        file: file.to_owned(),
        anchor: anchor.to_owned(),
        lines: lines.to_owned(),
        level: Level::parse(level).ok_or_else(|| format!("unknown level `{level}`"))?,
        since: since.parse().map_err(|e| format!("{e}"))?,
        class: class.to_owned(),
        testable: testable.to_owned(),
        text: text.to_owned(),
        how: how.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::{Catalogue, Severity};

    const HEAD: &str = "id\tfile\tanchor\tlines\tlevel\tsince\tclass\ttestable\ttext\thow\n";

    #[test]
    fn an_optional_property_is_an_obligation_once_present() {
        let row =
            |id: &str, class: &str| format!("{id}\tconfig.md\t#x\t1\tOPTIONAL\t1.0.0\t{class}\tyes\tT\tH\n");
        let text = [HEAD, &row("a.b", "property"), &row("c.d", "permission"), &row("e.f", "emit")].concat();
        let catalogue = Catalogue::parse(&[("x", &text)]).unwrap();
        assert_eq!(catalogue.get("a.b").unwrap().severity(), Severity::Fail);
        assert_eq!(catalogue.get("c.d").unwrap().severity(), Severity::Record);
        assert_eq!(catalogue.get("e.f").unwrap().severity(), Severity::Fail);
    }

    #[test]
    fn duplicates_and_bad_rows_are_errors() {
        let row = "a.b\tconfig.md\t#x\t1\tMUST\t1.0.0\truntime\tyes\tT\tH\n";
        assert!(Catalogue::parse(&[("x", &format!("{HEAD}{row}{row}"))]).is_err());
        assert!(Catalogue::parse(&[("x", &format!("{HEAD}{}", row.replace("MUST", "SHALT")))]).is_err());
        assert!(Catalogue::parse(&[("x", &format!("{HEAD}a\tb\n"))]).is_err());
    }
}
