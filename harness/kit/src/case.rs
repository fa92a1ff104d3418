//! Cases, sections and suites: explicit tables, no registry.

use crate::cx::Cx;
use crate::stop::Verdict;
use plimsoll_model::requirement::CatalogueError;
use plimsoll_model::{CaseId, Catalogue};
use std::future::Future;
use std::pin::Pin;

/// What a case's body is, once boxed.
pub type CaseFuture<'a> = Pin<Box<dyn Future<Output = Verdict> + 'a>>;

/// One value of a case's matrix.
#[derive(Debug, Clone, Copy)]
pub struct Variant {
    /// The value; part of the case id, so ASCII letters, digits and `-_.:+@,` only.
    pub value: &'static str,
    /// Requirements that this variant covers, before those of the case.
    pub covers: &'static [&'static str],
}

impl Variant {
    /// A value and what it covers beyond the case's own list.
    pub const fn new(value: &'static str, covers: &'static [&'static str]) -> Self {
        Self { value, covers }
    }
}

/// A case as written; made by the `#[case]` attribute.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// Kebab-case, the function's name.
    pub name: &'static str,
    /// The doc sentence.
    pub summary: &'static str,
    /// Requirement ids, the primary one first.
    pub covers: &'static [&'static str],
    /// Labels for filters.
    pub tags: &'static [&'static str],
    /// Resources that no other case may use at the same time.
    pub exclusive: &'static [&'static str],
    /// Key of the matrix; empty when there is none.
    pub axis: &'static str,
    /// Values of the matrix.
    pub variants: &'static [Variant],
    /// Deadline of the whole case in seconds, when the default does not fit.
    pub deadline_s: Option<u64>,
    /// Source file.
    pub file: &'static str,
    /// Source line.
    pub line: u32,
    /// The body.
    pub run: for<'a> fn(&'a mut Cx) -> CaseFuture<'a>,
}

/// A file of cases: one section of a specification.
#[derive(Debug, Clone, Copy)]
pub struct Section {
    /// Kebab-case.
    pub name: &'static str,
    /// The file's table.
    pub cases: &'static [Case],
}

/// What kind of target a suite judges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drives {
    /// OCI runtime executables.
    Oci,
    /// CRI endpoints.
    Cri,
}

/// A requirement without a case, on purpose: its id, and a reason that a reader of the specification can check.
pub type Waiver = (&'static str, &'static str);

/// A suite: one specification's cases and its catalogue.
#[derive(Debug, Clone, Copy)]
pub struct Suite {
    /// Kebab-case; the first segment of its case ids.
    pub name: &'static str,
    /// One line for `plimsoll list` and the reports.
    pub title: &'static str,
    /// What it judges.
    pub drives: Drives,
    /// The catalogue's files: name and text.
    pub requirements: &'static [(&'static str, &'static str)],
    /// Requirements without a case.
    pub waivers: &'static [&'static [Waiver]],
    /// The requirement that a leftover violates when the case itself passed.
    pub leak_requirement: &'static str,
    /// Where a clause can be read: prefix of `file#anchor`.
    pub clause_url: &'static str,
    /// The files of cases, grouped by the specification's own files.
    pub sections: &'static [&'static [Section]],
}

/// A case with its parameters bound.
#[derive(Debug, Clone)]
pub struct Bound {
    /// The full id.
    pub id: CaseId,
    /// The case as written.
    pub case: Case,
    /// The matrix value, if any.
    pub variant: Option<Variant>,
    /// What it covers: the variant's requirements first.
    pub covers: Vec<&'static str>,
}

/// A suite whose tables cannot be used. Found by tests, so that no user meets it.
#[derive(Debug, thiserror::Error)]
pub enum SuiteError {
    /// A name makes no case id.
    #[error(transparent)]
    Id(#[from] plimsoll_model::case::CaseIdError),
    /// The catalogue is malformed.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
}

impl Suite {
    /// All cases of the suite with their parameters bound, in table order.
    pub fn bound(&self) -> Result<Vec<Bound>, SuiteError> {
        let mut all = Vec::new();
        for section in self.sections.iter().copied().flatten() {
            for case in section.cases {
                let stem = format!("{}/{}/{}", self.name, section.name, case.name);
                if case.axis.is_empty() {
                    let covers = case.covers.to_vec();
                    all.push(Bound { id: CaseId::new(stem)?, case: *case, variant: None, covers });
                    continue;
                }
                for variant in case.variants {
                    let id =
                        CaseId::new(format!("{stem}/{}={}", case.axis.replace('_', "-"), variant.value))?;
                    let covers = variant.covers.iter().chain(case.covers).copied().collect();
                    all.push(Bound { id, case: *case, variant: Some(*variant), covers });
                }
            }
        }
        Ok(all)
    }

    /// The parsed catalogue.
    pub fn catalogue(&self) -> Result<Catalogue, SuiteError> {
        Ok(Catalogue::parse(self.requirements)?)
    }

    /// Requirements that neither a case nor a waiver names, in the catalogue's order. The one of leftovers is tested by
    /// every case: the engine looks for them after each.
    pub fn open(&self) -> Result<Vec<String>, SuiteError> {
        let covered: std::collections::BTreeSet<&str> =
            self.bound()?.into_iter().flat_map(|b| b.covers).collect();
        let waived = |id: &str| self.waivers.iter().copied().flatten().any(|(waived, _)| *waived == id);
        let catalogue = self.catalogue()?;
        let ids = catalogue.rows().iter().map(|r| r.id.clone());
        Ok(ids
            .filter(|id| !covered.contains(id.as_str()) && !waived(id) && id != self.leak_requirement)
            .collect())
    }

    /// What is wrong with the suite's tables: ids that occur twice, covers that the catalogue does not know, waivers
    /// that are not needed. Each suite's tests assert that this is empty.
    pub fn defects(&self) -> Vec<String> {
        let (bound, catalogue) = match (self.bound(), self.catalogue()) {
            (Ok(bound), Ok(catalogue)) => (bound, catalogue),
            (bound, catalogue) => {
                let errors = [bound.err(), catalogue.err()];
                return errors.into_iter().flatten().map(|e| e.to_string()).collect();
            }
        };
        let mut defects = Vec::new();
        let mut seen = std::collections::BTreeSet::new();
        let mut covered = std::collections::BTreeSet::new();
        for b in &bound {
            if !seen.insert(b.id.as_str()) {
                defects.push(format!("case id {} occurs twice", b.id));
            }
            if b.covers.is_empty() {
                defects.push(format!("{} covers nothing", b.id));
            }
            for id in &b.covers {
                covered.insert(*id);
                if catalogue.get(id).is_none() {
                    defects.push(format!("{} covers `{id}`, which the catalogue does not know", b.id));
                }
            }
        }
        for (id, reason) in self.waivers.iter().copied().flatten() {
            if catalogue.get(id).is_none() {
                defects.push(format!("waiver for `{id}`, which the catalogue does not know"));
            }
            if covered.contains(id) {
                defects.push(format!("waiver for `{id}`, which a case covers"));
            }
            if reason.len() < 20 {
                defects.push(format!("waiver for `{id}` gives no real reason"));
            }
        }
        if catalogue.get(self.leak_requirement).is_none() {
            defects.push(format!("leak requirement `{}` is not in the catalogue", self.leak_requirement));
        }
        defects
    }
}
