//! Case ids and the plan.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

use crate::requirement::Severity;
use crate::version::SpecVersion;

/// `suite/section/kebab-name[/key=value...]`: stable, unique, ASCII, never positional.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct CaseId(String);

/// The text is not a case id.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a case id: it takes suite/section/kebab-name and then key=value segments")]
pub struct CaseIdError(String);

impl CaseId {
    /// Parses and checks an id.
    pub fn new(text: impl Into<String>) -> Result<Self, CaseIdError> {
        let text = text.into();
        let ok = {
            let segments: Vec<&str> = text.split('/').collect();
            let (head, params) = segments.split_at(segments.len().min(3));
            head.len() == 3
                && head.iter().all(|s| is_kebab(s))
                && params.iter().all(|p| p.split_once('=').is_some_and(|(k, v)| is_kebab(k) && is_value(v)))
        };
        if ok { Ok(Self(text)) } else { Err(CaseIdError(text)) }
    }

    /// The whole id.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first segment.
    pub fn suite(&self) -> &str {
        self.segment(0)
    }

    /// The second segment.
    pub fn section(&self) -> &str {
        self.segment(1)
    }

    /// Name and parameters: all after the section.
    pub fn name(&self) -> &str {
        self.0.splitn(3, '/').nth(2).unwrap_or_default()
    }

    fn segment(&self, n: usize) -> &str {
        self.0.split('/').nth(n).unwrap_or_default()
    }
}

fn is_kebab(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// Values name spec items, so they may hold capitals, dots and underscores, but nothing a shell or path minds.
fn is_value(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:+@,".contains(&b))
}

impl TryFrom<String> for CaseId {
    type Error = CaseIdError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(text)
    }
}

impl From<CaseId> for String {
    fn from(id: CaseId) -> Self {
        id.0
    }
}

impl fmt::Display for CaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One case of the plan, as every report needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedCase {
    /// The id.
    pub id: CaseId,
    /// One sentence: the case's doc comment.
    pub summary: String,
    /// Requirement ids that the case covers; the first is the primary one.
    pub covers: Vec<String>,
    /// The worst that a violation of a covered requirement can be.
    pub severity: Severity,
    /// The specification version that the case needs: the highest `since` of what it covers.
    pub since: SpecVersion,
    /// Source file, relative to the project.
    pub file: String,
    /// Line in the source file.
    pub line: u32,
    /// Free labels, for filters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::CaseId;

    #[test]
    fn parses_segments() {
        let id = CaseId::new("oci-runtime/mounts/option-is-applied/option=noexec").unwrap();
        assert_eq!((id.suite(), id.section()), ("oci-runtime", "mounts"));
        assert_eq!(id.name(), "option-is-applied/option=noexec");
    }

    #[test]
    fn refuses_what_is_no_id() {
        for bad in [
            "",
            "a",
            "a/b",
            "a/b/",
            "A/b/c",
            "a/b/c d",
            "a/b/c/d",
            "a/b/c/d=",
            "a/../c",
            "a/b/-c",
            "a/b/c/k=v w",
        ] {
            assert!(CaseId::new(bad).is_err(), "{bad}");
        }
    }
}
