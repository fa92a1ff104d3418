//! The filter language: predicates over cases, joined by `and`, `or`, `not` and parentheses.
//!
//! `suite(X) section(X) case(X) req(X) level(X) tag(X)`; `X` matches as `=exact`, `~substring`, `/regex/`, or else as
//! a glob. A predicate that matches nothing in the whole plan is an error: it is a typing mistake, not a selection.

use plimsoll_model::expectation::glob;
use plimsoll_model::{Catalogue, PlannedCase};
use regex::Regex;

/// A parsed filter.
#[derive(Debug, Clone)]
pub enum Filter {
    /// Everything.
    All,
    /// A predicate.
    Is(Predicate),
    /// Both.
    And(Box<Filter>, Box<Filter>),
    /// Either.
    Or(Box<Filter>, Box<Filter>),
    /// The rest.
    Not(Box<Filter>),
}

/// One predicate.
#[derive(Debug, Clone)]
pub struct Predicate {
    field: Field,
    matcher: Matcher,
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Suite,
    Section,
    Case,
    Requirement,
    Level,
    Tag,
}

#[derive(Debug, Clone)]
enum Matcher {
    Exact(String),
    Contains(String),
    Regex(Box<Regex>),
    Glob(String),
}

/// A filter that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// The text is not in the language.
    #[error("the filter `{text}` cannot be read at byte {at}: {why}")]
    Syntax {
        /// The whole text.
        text: String,
        /// Where.
        at: usize,
        /// What is wrong.
        why: String,
    },
    /// A predicate matches no case.
    #[error("`{0}` matches no case; `plimsoll list` shows what there is")]
    MatchesNothing(String),
}

impl Matcher {
    fn parse(text: &str) -> Result<Self, String> {
        if let Some(exact) = text.strip_prefix('=') {
            return Ok(Self::Exact(exact.to_owned()));
        }
        if let Some(part) = text.strip_prefix('~') {
            return Ok(Self::Contains(part.to_owned()));
        }
        if let Some(body) = text.strip_prefix('/').and_then(|t| t.strip_suffix('/')) {
            return Regex::new(body).map(|r| Self::Regex(Box::new(r))).map_err(|e| e.to_string());
        }
        Ok(Self::Glob(text.to_owned()))
    }

    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(want) => text == want,
            Self::Contains(part) => text.contains(part.as_str()),
            Self::Regex(regex) => regex.is_match(text),
            Self::Glob(pattern) => glob(pattern, text),
        }
    }
}

impl Predicate {
    fn matches(&self, case: &PlannedCase, catalogue: &Catalogue) -> bool {
        let m = &self.matcher;
        match self.field {
            Field::Suite => m.matches(case.id.suite()),
            Field::Section => m.matches(case.id.section()),
            Field::Case => m.matches(case.id.as_str()),
            Field::Requirement => case.covers.iter().any(|r| m.matches(r)),
            Field::Tag => case.tags.iter().any(|t| m.matches(t)),
            Field::Level => {
                case.covers.iter().filter_map(|r| catalogue.get(r)).any(|r| m.matches(r.level.word()))
            }
        }
    }
}

impl Filter {
    /// Parses a filter expression.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        let mut parser = Parser { text, at: 0 };
        let filter = parser.either()?;
        parser.spaces();
        if parser.at < text.len() {
            return Err(parser.fail("expected the end, `and` or `or`"));
        }
        Ok(filter)
    }

    /// A name as given on the command line: a whole case id, a path prefix, or a part of an id.
    pub fn name(text: &str) -> Self {
        let predicate = |matcher| Self::Is(Predicate { field: Field::Case, matcher, text: text.to_owned() });
        let prefix = Regex::new(&format!("^{}(/|$)", regex::escape(text.trim_end_matches('/'))));
        match prefix {
            Ok(regex) if text.contains('/') => predicate(Matcher::Regex(Box::new(regex))),
            _ => predicate(Matcher::Contains(text.to_owned())),
        }
    }

    /// Exactly one case.
    pub fn exact(id: &str) -> Self {
        Self::Is(Predicate {
            field: Field::Case,
            matcher: Matcher::Exact(id.to_owned()),
            text: id.to_owned(),
        })
    }

    /// Whether a case is selected.
    pub fn matches(&self, case: &PlannedCase, catalogue: &Catalogue) -> bool {
        match self {
            Self::All => true,
            Self::Is(p) => p.matches(case, catalogue),
            Self::And(a, b) => a.matches(case, catalogue) && b.matches(case, catalogue),
            Self::Or(a, b) => a.matches(case, catalogue) || b.matches(case, catalogue),
            Self::Not(a) => !a.matches(case, catalogue),
        }
    }

    /// An error when some predicate matches none of `cases`.
    pub fn check(&self, cases: &[PlannedCase], catalogue: &Catalogue) -> Result<(), FilterError> {
        match self {
            Self::All => Ok(()),
            Self::Is(p) if cases.iter().any(|c| p.matches(c, catalogue)) => Ok(()),
            Self::Is(p) => Err(FilterError::MatchesNothing(p.text.clone())),
            Self::And(a, b) | Self::Or(a, b) => {
                a.check(cases, catalogue).and_then(|()| b.check(cases, catalogue))
            }
            Self::Not(a) => a.check(cases, catalogue),
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl Parser<'_> {
    fn fail(&self, why: &str) -> FilterError {
        FilterError::Syntax { text: self.text.to_owned(), at: self.at, why: why.to_owned() }
    }

    fn spaces(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
    }

    fn eat(&mut self, words: &[&str]) -> bool {
        self.spaces();
        let rest = &self.text[self.at..];
        let found = words.iter().find(|w| {
            let word = w.starts_with(|c: char| c.is_ascii_alphabetic());
            rest.strip_prefix(**w)
                .is_some_and(|after| !word || !after.starts_with(|c: char| c.is_ascii_alphanumeric()))
        });
        self.at += found.map_or(0, |w| w.len());
        found.is_some()
    }

    fn either(&mut self) -> Result<Filter, FilterError> {
        let mut left = self.both()?;
        while self.eat(&["or", "|"]) {
            left = Filter::Or(Box::new(left), Box::new(self.both()?));
        }
        Ok(left)
    }

    fn both(&mut self) -> Result<Filter, FilterError> {
        let mut left = self.one()?;
        while self.eat(&["and", "&"]) {
            left = Filter::And(Box::new(left), Box::new(self.one()?));
        }
        Ok(left)
    }

    fn one(&mut self) -> Result<Filter, FilterError> {
        if self.eat(&["not", "!"]) {
            return Ok(Filter::Not(Box::new(self.one()?)));
        }
        if self.eat(&["all()"]) {
            return Ok(Filter::All);
        }
        for (word, field) in [
            ("suite", Field::Suite),
            ("section", Field::Section),
            ("case", Field::Case),
            ("req", Field::Requirement),
            ("level", Field::Level),
            ("tag", Field::Tag),
        ] {
            if self.eat(&[word]) {
                return self.predicate(word, field);
            }
        }
        if self.eat(&["("]) {
            let inner = self.either()?;
            return if self.eat(&[")"]) { Ok(inner) } else { Err(self.fail("expected `)`")) };
        }
        Err(self.fail("expected suite(), section(), case(), req(), level(), tag(), not or `(`"))
    }

    fn predicate(&mut self, word: &str, field: Field) -> Result<Filter, FilterError> {
        if !self.eat(&["("]) {
            return Err(self.fail("expected `(`"));
        }
        let rest = &self.text[self.at..];
        let end = if rest.starts_with('/') { rest.find("/)").map(|i| i + 1) } else { rest.find(')') };
        let Some(end) = end else { return Err(self.fail("expected `)`")) };
        let inner = rest[..end].trim();
        if inner.is_empty() {
            return Err(self.fail("expected a name, glob, ~part, =exact or /regex/"));
        }
        let matcher = Matcher::parse(inner).map_err(|why| self.fail(&why))?;
        let text = format!("{word}({inner})");
        self.at += end + 1;
        Ok(Filter::Is(Predicate { field, matcher, text }))
    }
}

#[cfg(test)]
mod tests {
    use super::Filter;
    use plimsoll_model::{CaseId, Catalogue, PlannedCase, Severity, SpecVersion};
    use proptest::prelude::*;

    fn case(id: &str) -> PlannedCase {
        PlannedCase {
            id: CaseId::new(id).unwrap(),
            summary: "S.".into(),
            covers: vec!["a.b".into()],
            severity: Severity::Fail,
            since: SpecVersion::new(1, 0, 0),
            file: "f".into(),
            line: 1,
            tags: vec!["slow".into()],
        }
    }

    fn matches(filter: &str, id: &str) -> bool {
        Filter::parse(filter).unwrap().matches(&case(id), &Catalogue::default())
    }

    #[test]
    fn precedence_and_matchers() {
        assert!(matches("suite(s) and (section(=x) or section(kill))", "s/kill/a"));
        assert!(!matches("not suite(s) or section(x)", "s/kill/a"));
        assert!(matches("case(~kill) & !tag(fast)", "s/kill/a"));
        assert!(matches("case(/^s.kill/)", "s/kill/a"));
        assert!(matches("case(s/**)", "s/kill/a"));
        assert!(!matches("case(s/*)", "s/kill/a"));
        assert!(matches("req(a.b)", "s/kill/a"));
    }

    #[test]
    fn mistakes_are_errors() {
        for bad in
            ["", "suite", "suite(", "suite()", "foo(x)", "suite(a) suite(b)", "(suite(a)", "case(/[/)", "and"]
        {
            assert!(Filter::parse(bad).is_err(), "{bad}");
        }
        let plan = [case("s/kill/a")];
        let check = |f: &str| Filter::parse(f).unwrap().check(&plan, &Catalogue::default());
        assert!(check("suite(s)").is_ok());
        assert!(check("suite(s) or suite(typo)").is_err());
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,40}") {
            let _ = Filter::parse(&text);
        }

        #[test]
        fn a_filter_and_its_negation_are_everything(id in "[a-c]{1,2}/[a-c]{1,2}/[a-c]{1,2}", part in "[a-c]{1,2}") {
            let c = case(&id);
            let f = Filter::parse(&format!("case(~{part})")).unwrap();
            let not = Filter::parse(&format!("not case(~{part})")).unwrap();
            prop_assert!(f.matches(&c, &Catalogue::default()) != not.matches(&c, &Catalogue::default()));
        }
    }
}
