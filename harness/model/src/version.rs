//! Versions of a specification, ordered as SemVer 2.0.0 orders them, and lenient where runtimes are sloppy.

use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// A specification version such as `1.0.2` or `1.0.2-dev`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct SpecVersion {
    major: u64,
    minor: u64,
    patch: u64,
    pre: String,
}

/// The text is not a version.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a version of the form MAJOR.MINOR.PATCH[-PRERELEASE]")]
pub struct VersionError(String);

impl SpecVersion {
    /// A release version.
    pub const fn new(major: u64, minor: u64, patch: u64) -> Self {
        Self { major, minor, patch, pre: String::new() }
    }

    /// The version without its pre-release part: a runtime that declares `1.0.2-dev` implements what became 1.0.2.
    #[must_use]
    pub fn release(&self) -> Self {
        Self { pre: String::new(), ..self.clone() }
    }
}

impl FromStr for SpecVersion {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || VersionError(text.to_owned());
        let without_build = text.split('+').next().unwrap_or(text);
        let (core, pre) = without_build.split_once('-').unwrap_or((without_build, ""));
        let numbers: Vec<u64> =
            core.split('.').map(|n| n.parse().map_err(|_| bad())).collect::<Result<_, _>>()?;
        match numbers[..] {
            [major, minor, patch] => Ok(Self { major, minor, patch, pre: pre.to_owned() }),
            _ => Err(bad()),
        }
    }
}

impl TryFrom<String> for SpecVersion {
    type Error = VersionError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<SpecVersion> for String {
    fn from(version: SpecVersion) -> Self {
        version.to_string()
    }
}

impl fmt::Display for SpecVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)?;
        if self.pre.is_empty() { Ok(()) } else { write!(f, "-{}", self.pre) }
    }
}

impl Ord for SpecVersion {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.major, self.minor, self.patch).cmp(&(other.major, other.minor, other.patch)).then_with(
            || match (self.pre.is_empty(), other.pre.is_empty()) {
                (true, true) => Ordering::Equal,
                (true, false) => Ordering::Greater,
                (false, true) => Ordering::Less,
                (false, false) => self.pre.cmp(&other.pre),
            },
        )
    }
}

impl PartialOrd for SpecVersion {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::SpecVersion;

    fn v(text: &str) -> SpecVersion {
        text.parse().unwrap()
    }

    #[test]
    fn orders_like_semver() {
        assert!(v("1.0.2-dev") < v("1.0.2"));
        assert!(v("1.0.2") < v("1.1.0"));
        assert!(v("1.9.0") < v("1.10.0"));
        assert_eq!(v("1.0.2-dev").release(), v("1.0.2"));
        assert_eq!(v("1.2.0+build"), v("1.2.0"));
    }

    #[test]
    fn refuses_what_is_not_a_version() {
        for bad in ["", "1", "1.2", "1.2.x", "v1.2.3", "1.2.3.4", "-1.2.3"] {
            assert!(bad.parse::<SpecVersion>().is_err(), "{bad}");
        }
    }
}
