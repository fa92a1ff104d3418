//! The fault catalogue: the tables in `catalogue/`, as data.

use std::collections::HashSet;
use std::sync::OnceLock;

use crate::step::Step;
use crate::{bench, grammar};

/// One fault.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Its stable id.
    pub id: String,
    /// An older id that also finds it, or "".
    pub alias: String,
    /// Where it acts: config, hook, argv, output, exit, leak, time, exec, update, features, inside,
    /// bench or cri.
    pub layer: String,
    /// The requirements that it breaks, the intended one first.
    pub requirements: Vec<String>,
    /// What the host or the case must offer for it to have an effect, or "".
    pub needs: String,
    /// What is broken, as a short sentence.
    pub title: String,
    /// The operations, in the language of [`crate::grammar`].
    pub how: String,
    /// For tests: edits of the sample configuration that make the fault's condition true, or "".
    pub sample: String,
    /// `how`, parsed.
    pub steps: Vec<Step>,
}

/// The id of the control: nothing is broken.
pub const NONE: &str = "none";

const TABLES: &[&str] = &[
    include_str!("../catalogue/config.tsv"),
    include_str!("../catalogue/hooks.tsv"),
    include_str!("../catalogue/calls.tsv"),
    include_str!("../catalogue/command-line.tsv"),
    include_str!("../catalogue/mount-options.tsv"),
    include_str!("../catalogue/nearby.tsv"),
    include_str!("../catalogue/inside.tsv"),
    include_str!("../catalogue/cri.tsv"),
];
const WAIVERS: &str = include_str!("../catalogue/waivers.tsv");

/// The rows of a table: no header, no comments, no blank lines.
fn rows(table: &'static str) -> impl Iterator<Item = Vec<&'static str>> {
    table
        .lines()
        .filter(|l| {
            !l.trim().is_empty()
                && !l.starts_with('#')
                && !l.starts_with("id\t")
                && !l.starts_with("requirement\t")
        })
        .map(|l| l.split('\t').collect())
}

fn load() -> Result<Vec<Fault>, String> {
    let mut faults = Vec::new();
    let mut seen = HashSet::new();
    for row in TABLES.iter().flat_map(|t| rows(t)) {
        let field = |at: usize| row.get(at).copied().unwrap_or_default().trim().to_owned();
        let (id, how) = (field(0), field(6));
        if row.len() < 7 {
            return Err(format!("fault {id:?}: {} columns, want 7 or 8", row.len()));
        }
        if !seen.insert(id.clone()) {
            return Err(format!("fault {id:?} is listed twice"));
        }
        let steps = grammar::parse(&how).map_err(|e| format!("fault {id:?}: {e}"))?;
        faults.push(Fault {
            id,
            alias: field(1),
            layer: field(2),
            requirements: field(3).split(',').filter(|r| !r.is_empty()).map(str::to_owned).collect(),
            needs: field(4),
            title: field(5),
            how,
            sample: field(7),
            steps,
        });
    }
    Ok(faults)
}

/// All faults of the table, or what is wrong with it (a test shows that nothing is).
pub fn checked() -> Result<&'static [Fault], &'static str> {
    static FAULTS: OnceLock<Result<Vec<Fault>, String>> = OnceLock::new();
    match FAULTS.get_or_init(load) {
        Ok(faults) => Ok(faults),
        Err(e) => Err(e),
    }
}

/// All faults of the table.
pub fn catalogue() -> &'static [Fault] {
    checked().unwrap_or_default()
}

/// Requirements for which no fault can be made here, with the reason.
pub fn uncoverable() -> &'static [(&'static str, &'static str)] {
    static LIST: OnceLock<Vec<(&'static str, &'static str)>> = OnceLock::new();
    LIST.get_or_init(|| rows(WAIVERS).filter_map(|r| Some((*r.first()?, *r.get(1)?))).collect())
}

/// The fault with this id or alias; parameterised ids are made on the spot.
pub fn find(id: &str) -> Result<Fault, String> {
    if id.starts_with("bench.") {
        let steps = bench::steps(id)?;
        let title = bench::FORMS
            .iter()
            .find(|(form, _)| form.split('=').next() == id.split('=').next())
            .map_or("", |(_, title)| title);
        return Ok(Fault {
            id: id.to_owned(),
            alias: String::new(),
            layer: "bench".to_owned(),
            requirements: Vec::new(),
            needs: String::new(),
            title: title.to_owned(),
            how: id.to_owned(),
            sample: String::new(),
            steps,
        });
    }
    let wanted = checked()?.iter().find(|f| f.id == id || (!f.alias.is_empty() && f.alias == id));
    wanted.cloned().ok_or_else(|| format!("there is no fault {id:?}"))
}
