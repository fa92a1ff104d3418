//! What a user knows to fail, and the judgement of an outcome against that.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::case::CaseId;
use crate::outcome::OutcomeKind;

/// One entry of an expectations file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Expectation {
    /// Glob over case ids; `*` crosses no `/`, `**` does.
    pub case: String,
    /// Glob over the target's label; all targets when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Only while the target's version text contains this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_contains: Option<String>,
    /// What is known to be seen.
    #[serde(default = "default_kind")]
    pub outcome: ExpectedKind,
    /// Where it is tracked; an URL or a ticket.
    pub issue: String,
    /// Why it is accepted for now.
    pub reason: String,
}

fn default_kind() -> ExpectedKind {
    ExpectedKind::Fail
}

/// What a known failure may be. `Error` cannot be expected: it is never excused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ExpectedKind {
    /// A MUST is not met.
    Fail,
    /// A SHOULD is not met.
    Warn,
    /// Sometimes fails, sometimes passes.
    Flaky,
}

/// An expectations file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expectations {
    /// The entries, in order; the first that matches counts.
    #[serde(default, rename = "expect")]
    pub entries: Vec<Expectation>,
}

/// How an outcome compares with what was expected of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Judgement {
    /// Nothing unexpected.
    Good,
    /// An unexpected `Fail`: closes the gate.
    Bad,
    /// An unexpected `Warn`: reported, closes only a strict gate.
    Warned,
    /// A failure that the expectations file names.
    Known {
        /// Where it is tracked.
        issue: String,
        /// Why it is accepted.
        reason: String,
    },
    /// A known failure that passes now: the entry is out of date.
    Fixed {
        /// Where it is tracked.
        issue: String,
    },
    /// `NotApplicable`, `Skip` or `NotRun`: says nothing either way.
    Neutral,
    /// `Error`: never excused.
    Trouble,
}

impl Expectations {
    /// The index of the first entry that matches.
    pub fn find(&self, target: &str, version: &str, case: &CaseId) -> Option<usize> {
        self.entries.iter().position(|e| {
            glob(&e.case, case.as_str())
                && e.target.as_deref().is_none_or(|t| glob(t, target))
                && e.version_contains.as_deref().is_none_or(|v| version.contains(v))
        })
    }

    /// Judges one outcome.
    pub fn judge(&self, target: &str, version: &str, case: &CaseId, outcome: OutcomeKind) -> Judgement {
        let entry = self.find(target, version, case).map(|i| &self.entries[i]);
        match (outcome, entry) {
            (OutcomeKind::Error, _) => Judgement::Trouble,
            (OutcomeKind::NotApplicable | OutcomeKind::Skip | OutcomeKind::NotRun, _) => Judgement::Neutral,
            (OutcomeKind::Pass, Some(e)) if e.outcome != ExpectedKind::Flaky => {
                Judgement::Fixed { issue: e.issue.clone() }
            }
            (OutcomeKind::Fail, Some(e)) if e.outcome != ExpectedKind::Warn => known(e),
            (OutcomeKind::Warn, Some(e)) => known(e),
            (OutcomeKind::Fail, _) => Judgement::Bad,
            (OutcomeKind::Warn, None) => Judgement::Warned,
            (OutcomeKind::Pass, _) => Judgement::Good,
        }
    }
}

fn known(entry: &Expectation) -> Judgement {
    Judgement::Known { issue: entry.issue.clone(), reason: entry.reason.clone() }
}

/// Matches `text` against a glob of `*` (no `/`), `**` (anything) and `?` (one character, no `/`).
pub fn glob(pattern: &str, text: &str) -> bool {
    let (p, t) = (pattern.as_bytes(), text.as_bytes());
    // Classic two-row table: row[j] says whether the pattern so far matches the first j bytes of the text.
    let mut row = vec![false; t.len() + 1];
    row[0] = true;
    let mut i = 0;
    while i < p.len() {
        let mut next = vec![false; t.len() + 1];
        if p[i] == b'*' {
            let deep = p.get(i + 1) == Some(&b'*');
            next[0] = row[0];
            for j in 1..=t.len() {
                next[j] = row[j] || (next[j - 1] && (deep || t[j - 1] != b'/'));
            }
            i += usize::from(deep) + 1;
        } else {
            for j in 1..=t.len() {
                let one = p[i] == t[j - 1] || (p[i] == b'?' && t[j - 1] != b'/');
                next[j] = row[j - 1] && one;
            }
            i += 1;
        }
        row = next;
    }
    row[t.len()]
}

#[cfg(test)]
mod tests {
    use super::{Expectation, Expectations, ExpectedKind, Judgement, glob};
    use crate::case::CaseId;
    use crate::outcome::OutcomeKind;

    #[test]
    fn globs() {
        for (pattern, text, want) in [
            ("oci-runtime/**", "oci-runtime/a/b", true),
            ("oci-runtime/*", "oci-runtime/a/b", false),
            ("*/a/b", "oci-runtime/a/b", true),
            ("**/b", "oci-runtime/a/b", true),
            ("a?c", "abc", true),
            ("a?c", "a/c", false),
            ("", "", true),
            ("a", "", false),
        ] {
            assert_eq!(glob(pattern, text), want, "{pattern} {text}");
        }
    }

    #[test]
    fn judges() {
        let entry = |outcome| Expectation {
            case: "s/**".into(),
            target: None,
            version_contains: None,
            outcome,
            issue: "I-1".into(),
            reason: "r".into(),
        };
        let case = CaseId::new("s/a/b").unwrap();
        let judge =
            |kind, outcome| Expectations { entries: vec![entry(kind)] }.judge("t", "v", &case, outcome);
        assert!(matches!(judge(ExpectedKind::Fail, OutcomeKind::Fail), Judgement::Known { .. }));
        assert!(matches!(judge(ExpectedKind::Fail, OutcomeKind::Pass), Judgement::Fixed { .. }));
        assert_eq!(judge(ExpectedKind::Fail, OutcomeKind::Error), Judgement::Trouble);
        assert_eq!(judge(ExpectedKind::Warn, OutcomeKind::Fail), Judgement::Bad);
        assert_eq!(judge(ExpectedKind::Flaky, OutcomeKind::Pass), Judgement::Good);
        let none = Expectations::default();
        assert_eq!(none.judge("t", "v", &case, OutcomeKind::Fail), Judgement::Bad);
        assert_eq!(none.judge("t", "v", &case, OutcomeKind::Warn), Judgement::Warned);
        assert_eq!(none.judge("t", "v", &case, OutcomeKind::Skip), Judgement::Neutral);
    }
}
