//! What a user knows to fail, and the judgement of an outcome against that.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::case::CaseId;
use crate::event::{HostFacts, TargetInfo};
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
    /// Only while all of these facts hold: members of `target` and `host` as the run file's header has them, nested
    /// or with dots (`host.cgroups`). A text is a glob, a list names alternatives; a fact that is absent holds nothing.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub when: Map<String, Value>,
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

/// What an entry's conditions are asked of.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The target.
    pub target: &'a TargetInfo,
    /// The host.
    pub host: &'a HostFacts,
}

impl Subject<'_> {
    fn has(&self, when: &Map<String, Value>) -> bool {
        if when.is_empty() {
            return true;
        }
        let facts = serde_json::json!({"target": self.target, "host": self.host});
        holds(&Value::Object(when.clone()), &facts)
    }
}

/// Whether a fact is as a condition wants it.
fn holds(want: &Value, fact: &Value) -> bool {
    match (want, fact) {
        (Value::Object(members), _) => {
            members.iter().all(|(path, want)| member(fact, path).is_some_and(|fact| holds(want, fact)))
        }
        (Value::Array(alternatives), _) => alternatives.iter().any(|want| holds(want, fact)),
        (_, Value::Array(items)) => items.iter().any(|item| holds(want, item)),
        // Facts are no paths: `*` stands for anything.
        (Value::String(pattern), Value::String(text)) => glob(&pattern.replace('*', "**"), text),
        _ => want == fact,
    }
}

/// A member by its name, or by names with dots between them; names may hold dots themselves.
fn member<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    value.get(path).or_else(|| {
        path.match_indices('.').find_map(|(at, _)| member(value.get(&path[..at])?, &path[at + 1..]))
    })
}

impl Expectations {
    /// The index of the first entry that matches.
    pub fn find(&self, on: Subject<'_>, case: &CaseId) -> Option<usize> {
        self.entries.iter().position(|e| {
            glob(&e.case, case.as_str())
                && e.target.as_deref().is_none_or(|t| glob(t, &on.target.label))
                && e.version_contains.as_deref().is_none_or(|v| on.target.version.contains(v))
                && on.has(&e.when)
        })
    }

    /// Judges one outcome.
    pub fn judge(&self, on: Subject<'_>, case: &CaseId, outcome: OutcomeKind) -> Judgement {
        let entry = self.find(on, case).map(|i| &self.entries[i]);
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
    use super::{Expectation, Expectations, ExpectedKind, Judgement, Subject, glob};
    use crate::case::CaseId;
    use crate::event::{HostFacts, TargetInfo};
    use crate::outcome::OutcomeKind;
    use serde_json::json;

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

    fn facts() -> (TargetInfo, HostFacts) {
        let target = json!({"label": "t", "spec": {"kind": "oci", "locator": "t", "params": []},
            "version": "runc version 1.1.5+ds1", "spec_version": "1.0.2",
            "features": {"linux": {"cgroup": {"v2": true}}, "hooks": ["prestart", "poststop"]}});
        let host = json!({"kernel": "6.18.0", "machine": "x86_64", "os": "x", "cgroups": "hybrid", "controllers": {},
            "lsm": [], "missing_capabilities": ["CAP_SYS_RESOURCE"], "cpus": 2, "memory_kib": 1,
            "facts": {"a.b": 1}});
        (serde_json::from_value(target).unwrap(), serde_json::from_value(host).unwrap())
    }

    #[test]
    fn an_entry_holds_only_while_its_conditions_do() {
        let (target, host) = facts();
        let on = Subject { target: &target, host: &host };
        for (when, want) in [
            (json!({}), true),
            (json!({"host.cgroups": "hybrid"}), true),
            (json!({"host": {"cgroups": "hybrid"}}), true),
            (json!({"host.cgroups": ["v1", "hybrid"]}), true),
            (json!({"host.cgroups": "v2"}), false),
            (json!({"target.version": "*1.1.*"}), true),
            (json!({"target.version": "*1.2.*"}), false),
            (json!({"target.features.linux.cgroup.v2": true}), true),
            (json!({"target.features.linux.cgroup.v2": "true"}), false),
            (json!({"target.features.hooks": "poststop"}), true),
            (json!({"target.features.hooks": "poststart"}), false),
            (json!({"host.missing_capabilities": "CAP_SYS_*"}), true),
            (json!({"host.cpus": 2, "host.kernel": "6.*"}), true),
            (json!({"host.cpus": 2, "host.kernel": "5.*"}), false),
            (json!({"host.facts.a.b": 1}), true),
            (json!({"host.nothing": "*"}), false),
            (json!({"nothing": {}}), false),
        ] {
            let text = json!({"expect": [{"case": "**", "when": when, "issue": "i", "reason": "r"}]});
            let file: Expectations = serde_json::from_value(text).unwrap();
            let found = file.find(on, &CaseId::new("s/a/b").unwrap());
            assert_eq!(found.is_some(), want, "{when}");
        }
    }

    #[test]
    fn judges() {
        let entry = |outcome| Expectation {
            case: "s/**".into(),
            target: None,
            version_contains: None,
            when: serde_json::Map::new(),
            outcome,
            issue: "I-1".into(),
            reason: "r".into(),
        };
        let case = CaseId::new("s/a/b").unwrap();
        let (target, host) = facts();
        let on = Subject { target: &target, host: &host };
        let judge = |kind, outcome| Expectations { entries: vec![entry(kind)] }.judge(on, &case, outcome);
        assert!(matches!(judge(ExpectedKind::Fail, OutcomeKind::Fail), Judgement::Known { .. }));
        assert!(matches!(judge(ExpectedKind::Fail, OutcomeKind::Pass), Judgement::Fixed { .. }));
        assert_eq!(judge(ExpectedKind::Fail, OutcomeKind::Error), Judgement::Trouble);
        assert_eq!(judge(ExpectedKind::Warn, OutcomeKind::Fail), Judgement::Bad);
        assert_eq!(judge(ExpectedKind::Flaky, OutcomeKind::Pass), Judgement::Good);
        let none = Expectations::default();
        assert_eq!(none.judge(on, &case, OutcomeKind::Fail), Judgement::Bad);
        assert_eq!(none.judge(on, &case, OutcomeKind::Warn), Judgement::Warned);
        assert_eq!(none.judge(on, &case, OutcomeKind::Skip), Judgement::Neutral);
    }
}
