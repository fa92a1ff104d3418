//! Planning: which cases a run holds. Pure.

use crate::filter::{Filter, FilterError};
use crate::partition::Partition;
use plimsoll_kit::Suite;
use plimsoll_kit::case::{Bound, Drives, SuiteError};
use plimsoll_model::{Catalogue, PlannedCase, Severity, SpecVersion};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::str::FromStr;

/// A named selection of cases, documented by its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// One case of each section: is this a runtime at all? Seconds.
    Smoke,
    /// Every case that covers a MUST, a MUST NOT or a REQUIRED.
    Must,
    /// Every case of the specifications and of the de-facto command line.
    Full,
    /// Protections whose absence was a CVE, but for races: those are named, for example by `tag(race)`.
    Security,
    /// What a certificate rests on: every case of the specifications, none left out.
    Certify,
}

impl Profile {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Smoke, Self::Must, Self::Full, Self::Security, Self::Certify];

    /// The word on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Smoke => "smoke",
            Self::Must => "must",
            Self::Full => "full",
            Self::Security => "security",
            Self::Certify => "certify",
        }
    }

    fn takes(self, case: &PlannedCase, catalogue: &Catalogue) -> bool {
        let suite = case.id.suite();
        let must = || case.covers.iter().filter_map(|r| catalogue.get(r)).any(|r| r.level.is_must());
        match self {
            Self::Smoke | Self::Full => suite != "security",
            Self::Must => suite != "security" && must(),
            Self::Security => suite == "security" && !case.tags.iter().any(|t| t == "race"),
            Self::Certify => !matches!(suite, "security" | "runc-cli"),
        }
    }
}

impl FromStr for Profile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|p| p.word() == text).ok_or_else(|| {
            let known: Vec<&str> = Self::ALL.iter().map(|p| p.word()).collect();
            format!("unknown profile `{text}` (known: {})", known.join(", "))
        })
    }
}

/// What the user selects.
#[derive(Debug, Clone)]
pub struct Selection {
    /// The named selection.
    pub profile: Profile,
    /// Further restrictions; a case has to match all of them.
    pub filters: Vec<Filter>,
    /// The share that runs here.
    pub partition: Option<Partition>,
}

/// The cases of a run, in order.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What reports show, in the same order as `bound`.
    pub cases: Vec<PlannedCase>,
    /// What runs.
    pub bound: Vec<Bound>,
    /// Rows of all suites that could be selected.
    pub catalogue: Catalogue,
    /// Waivers of those suites.
    pub waivers: BTreeMap<String, String>,
    /// SHA-256 over the case ids before partitioning, in hex.
    pub digest: String,
    /// Of a share: each case's place in the whole plan; empty without a partition.
    pub places: Vec<u32>,
}

/// A plan that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A filter is wrong.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// A suite's tables are unsound.
    #[error("a suite of this build is unsound: {0}")]
    Suite(#[from] SuiteError),
    /// A catalogue row occurs in two suites.
    #[error("the suites of this build share a requirement id: {0}")]
    Catalogue(#[from] plimsoll_model::requirement::CatalogueError),
}

/// Oldest version that a case writes unless it covers something newer: the newest one that every runtime in use reads.
const OLDEST: SpecVersion = SpecVersion::new(1, 0, 2);

/// Why the requirement of leftovers needs no case of its own.
const LEAKS: &str =
    "no case of its own: what is left behind is looked for after every case, and violates this";

impl Plan {
    /// All cases of the suites that drive one of the wanted kinds, unselected.
    pub fn everything(suites: &[&'static Suite], drives: &[Drives]) -> Result<Self, PlanError> {
        let mut plan = Self {
            cases: vec![],
            bound: vec![],
            catalogue: Catalogue::default(),
            waivers: BTreeMap::new(),
            digest: String::new(),
            places: vec![],
        };
        for suite in suites.iter().filter(|s| drives.contains(&s.drives)) {
            let catalogue = suite.catalogue()?;
            for bound in suite.bound()? {
                plan.cases.push(planned(&bound, &catalogue));
                plan.bound.push(bound);
            }
            let waivers = suite.waivers.iter().copied().flatten();
            plan.waivers.extend(waivers.map(|(id, why)| ((*id).to_owned(), (*why).to_owned())));
            let leak = suite.leak_requirement;
            if !plan.cases.iter().any(|c| c.covers.iter().any(|id| id == leak)) {
                plan.waivers.insert(leak.to_owned(), LEAKS.to_owned());
            }
            plan.catalogue.extend(catalogue)?;
        }
        Ok(plan)
    }

    /// Selects from everything.
    pub fn select(mut self, selection: &Selection) -> Result<Self, PlanError> {
        for filter in &selection.filters {
            filter.check(&self.cases, &self.catalogue)?;
        }
        let mut keep: Vec<usize> = (0..self.cases.len())
            .filter(|&i| {
                let case = &self.cases[i];
                // Naming a case selects it whatever the profile says.
                (!selection.filters.is_empty() || selection.profile.takes(case, &self.catalogue))
                    && selection.filters.iter().all(|f| f.matches(case, &self.catalogue))
            })
            .collect();
        if selection.profile == Profile::Smoke && selection.filters.is_empty() {
            keep = self.first_of_each_section(&keep);
        }
        let ids: Vec<&str> = keep.iter().map(|&i| self.cases[i].id.as_str()).collect();
        self.digest = hex(&Sha256::digest(ids.join("\n").as_bytes()));
        if let Some(partition) = &selection.partition {
            let share = partition.share(&ids);
            self.places = share.iter().map(|place| *place as u32).collect();
            keep = share.into_iter().map(|place| keep[place]).collect();
        }
        self.cases = keep.iter().map(|&i| self.cases[i].clone()).collect();
        self.bound = keep.iter().map(|&i| self.bound[i].clone()).collect();
        Ok(self)
    }

    fn first_of_each_section(&self, among: &[usize]) -> Vec<usize> {
        let mut seen = std::collections::BTreeSet::new();
        let section = |i: usize| (self.cases[i].id.suite().to_owned(), self.cases[i].id.section().to_owned());
        among.iter().copied().filter(|&i| seen.insert(section(i))).collect()
    }
}

fn planned(bound: &Bound, catalogue: &Catalogue) -> PlannedCase {
    let rows: Vec<_> = bound.covers.iter().filter_map(|id| catalogue.get(id)).collect();
    let since = rows.iter().map(|r| r.since.clone()).max().unwrap_or(SpecVersion::new(1, 0, 0));
    PlannedCase {
        id: bound.id.clone(),
        summary: bound.case.summary.to_owned(),
        covers: bound.covers.iter().map(|c| (*c).to_owned()).collect(),
        severity: rows.iter().map(|r| r.severity()).max().unwrap_or(Severity::Record),
        since,
        file: bound.case.file.to_owned(),
        line: bound.case.line,
        tags: bound.case.tags.iter().map(|t| (*t).to_owned()).collect(),
    }
}

/// The version that a case writes as `ociVersion` unless it says otherwise.
pub fn version_to_write(case: &PlannedCase) -> SpecVersion {
    case.since.clone().max(OLDEST)
}

/// Finds the suite that a case id belongs to.
pub fn suite_of<'a>(suites: &[&'a Suite], id: &str) -> Option<&'a Suite> {
    let name = id.split('/').next().unwrap_or_default();
    suites.iter().copied().find(|s| s.name == name)
}

/// Finds a bound case by its id.
pub fn find_case(suites: &[&'static Suite], id: &str) -> Option<(Bound, &'static Suite)> {
    let suite = suite_of(suites, id)?;
    let bound = suite.bound().ok()?.into_iter().find(|b| b.id.as_str() == id)?;
    Some((bound, suite))
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    let digit = |n: u8| char::from_digit(u32::from(n), 16).unwrap_or_default();
    bytes.iter().flat_map(|b| [digit(b >> 4), digit(b & 15)]).collect()
}
