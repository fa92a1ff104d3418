//! Puts the parts of one plan together: shards of one host, or the same plan on several nodes.

use plimsoll_model::event::RunStatus;
use plimsoll_model::{CaseRecord, ExitCode, Footer, Header, HostFacts, PlannedCase, Run, TargetInfo};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::Write as _;

/// Runs that do not belong together, or not all of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// No run was given.
    #[error("nothing to merge: give at least one run file")]
    Nothing,
    /// Another plan.
    #[error("run {run} has the plan {digest}, run 1 has {first}: only parts of one plan can be merged")]
    OtherPlan {
        /// 1-based position of the run in the arguments.
        run: usize,
        /// Its plan digest.
        digest: String,
        /// The plan digest of the first run.
        first: String,
    },
    /// A run without a footer.
    #[error("run {run} ({id}) has no footer: it was cut off; run that shard again")]
    Incomplete {
        /// 1-based position of the run in the arguments.
        run: usize,
        /// Its id.
        id: String,
    },
    /// Partition texts that cannot be understood or do not agree.
    #[error("run {run} has the partition `{partition}`, which does not fit `{first}`")]
    OtherPartition {
        /// 1-based position of the run in the arguments.
        run: usize,
        /// Its partition.
        partition: String,
        /// The partition of the first run.
        first: String,
    },
    /// A shard was not given.
    #[error("shard {0} of the plan is missing: give all shards")]
    MissingShard(String),
    /// A shard was given twice.
    #[error("shard {0} was given twice")]
    DoubleShard(String),
    /// A case was decided by two shards.
    #[error("case `{case}` on `{target}` was decided by two shards")]
    Overlap {
        /// Case id.
        case: String,
        /// The target's label.
        target: String,
    },
    /// The same target is another program there.
    #[error("target `{target}` is another program in run {run} than in run 1")]
    OtherTarget {
        /// 1-based position of the run in the arguments.
        run: usize,
        /// The target's label.
        target: String,
    },
}

/// How a run was cut: `slice:2/3`, `hash:2/3`, or `balanced-DIGEST:2/3` where the digest names the timings.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Part {
    kind: String,
    of: u32,
    index: u32,
}

/// Merges runs of one plan. Runs that carry a partition must be all shards of it, without overlap, and the result is
/// the run as it would have been without a partition. Runs of the whole plan are runs on several nodes: each target
/// becomes `label@node`, and every node's outcomes stand side by side. Shards of several nodes merge in both ways.
pub fn merge(runs: Vec<Run>) -> Result<Run, MergeError> {
    let first = runs.first().ok_or(MergeError::Nothing)?.header.plan_digest.clone();
    for (i, run) in runs.iter().enumerate() {
        if run.header.plan_digest != first {
            let digest = run.header.plan_digest.clone();
            return Err(MergeError::OtherPlan { run: i + 1, digest, first });
        }
        if run.footer.is_none() {
            return Err(MergeError::Incomplete { run: i + 1, id: run.header.run_id.clone() });
        }
    }
    let parts = parts(&runs)?;
    let mut nodes: Vec<Run> = Vec::new();
    if parts.iter().any(Option::is_some) {
        let mut by_host: BTreeMap<String, Vec<(Part, Run)>> = BTreeMap::new();
        for (part, run) in parts.into_iter().flatten().zip(runs) {
            by_host.entry(host_key(&run.header)).or_default().push((part, run));
        }
        // Shards that ran on different machines are still one run when together they are just the plan.
        let whole = by_host.values().all(|shards| complete(shards).is_ok());
        let groups: Vec<Vec<(Part, Run)>> = if whole {
            by_host.into_values().collect()
        } else {
            vec![by_host.into_values().flatten().collect()]
        };
        for mut shards in groups {
            shards.sort_by_key(|(part, _)| part.clone());
            complete(&shards)?;
            nodes.push(join(shards.into_iter().map(|(_, run)| run).collect())?);
        }
    } else {
        nodes = runs;
    }
    if nodes.len() == 1 { nodes.pop().ok_or(MergeError::Nothing) } else { side_by_side(nodes) }
}

fn parts(runs: &[Run]) -> Result<Vec<Option<Part>>, MergeError> {
    let mut parts: Vec<Option<Part>> = Vec::new();
    let text = |run: &Run| run.header.partition.clone().unwrap_or_else(|| "none".to_owned());
    for (i, run) in runs.iter().enumerate() {
        let part = run.header.partition.as_deref().map(parse);
        let wrong = match (&part, parts.first()) {
            (Some(Some(part)), Some(Some(first))) => part.kind != first.kind || part.of != first.of,
            (Some(None), _) | (Some(_), Some(None)) | (None, Some(Some(_))) => true,
            _ => false,
        };
        if wrong {
            return Err(MergeError::OtherPartition {
                run: i + 1,
                partition: text(run),
                first: text(&runs[0]),
            });
        }
        parts.push(part.flatten());
    }
    Ok(parts)
}

fn parse(text: &str) -> Option<Part> {
    let (kind, rest) = text.split_once(':')?;
    let (index, of) = rest.split_once('/')?;
    let (index, of): (u32, u32) = (index.parse().ok()?, of.parse().ok()?);
    (index >= 1 && index <= of && of <= 100_000).then(|| Part { kind: kind.to_owned(), of, index })
}

/// What tells nodes apart, and is the same for all shards of a node.
fn host_key(header: &Header) -> String {
    node_name(header).unwrap_or_else(|| {
        let host = &header.host;
        format!("{} {} {} {}", host.os, host.kernel, host.machine, host.cgroups)
    })
}

fn node_name(header: &Header) -> Option<String> {
    host_name(&header.host)
}

fn host_name(host: &HostFacts) -> Option<String> {
    let fact = ["node", "hostname"].iter().find_map(|key| host.facts.get(*key)?.as_str());
    fact.map(str::to_owned)
}

fn complete(shards: &[(Part, Run)]) -> Result<(), MergeError> {
    let name = |index: u32, part: &Part| format!("{}:{index}/{}", part.kind, part.of);
    let Some((first, _)) = shards.first() else { return Err(MergeError::Nothing) };
    let mut seen = BTreeSet::new();
    for (part, _) in shards {
        if !seen.insert(part.index) {
            return Err(MergeError::DoubleShard(name(part.index, part)));
        }
    }
    match (1..=first.of).find(|index| !seen.contains(index)) {
        Some(missing) => Err(MergeError::MissingShard(name(missing, first))),
        None => Ok(()),
    }
}

/// Joins all shards of one run, given in the order of their index.
fn join(shards: Vec<Run>) -> Result<Run, MergeError> {
    let dealt = in_place(&shards).unwrap_or_else(|| dealt(&shards));
    let mut shards = shards.into_iter();
    let mut whole = shards.next().ok_or(MergeError::Nothing)?;
    for (i, shard) in shards.enumerate() {
        for target in &shard.header.targets {
            let same =
                whole.header.targets.iter().any(|t| t.label == target.label && t.sha256 == target.sha256);
            if !same {
                return Err(MergeError::OtherTarget { run: i + 2, target: target.label.clone() });
            }
        }
        let known: BTreeSet<&str> = whole.header.plan.iter().map(|c| c.id.as_str()).collect();
        let fresh: Vec<_> =
            shard.header.plan.iter().filter(|c| !known.contains(c.id.as_str())).cloned().collect();
        whole.header.plan.extend(fresh);
        whole.footer = Some(footer(&whole, &shard));
        whole.header.started_at = whole.header.started_at.min(shard.header.started_at);
        whole.records.extend(shard.records);
        whole.superseded.extend(shard.superseded);
        whole.benches.extend(shard.benches);
        for note in shard.notes {
            if !whole.notes.contains(&note) {
                whole.notes.push(note);
            }
        }
    }
    whole.header.partition = None;
    whole.header.places = Vec::new();
    whole.header.command = without_partition(&whole.header.command);
    // The digest tells whether the order is that of the whole plan; else the order of ids does not depend on how the plan was cut.
    if digest(&dealt) == whole.header.plan_digest {
        whole.header.plan = dealt;
    } else {
        whole.header.plan.sort_by(|a, b| a.id.cmp(&b.id));
    }
    finish(whole)
}

/// The command line of the whole run.
fn without_partition(command: &[String]) -> Vec<String> {
    let mut words = command.iter();
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        if word == "--partition" || word == "--balance" {
            words.next();
        } else if !word.starts_with("--partition=") && !word.starts_with("--balance=") {
            kept.push(word.clone());
        }
    }
    kept
}

/// The plan by the places that the shards name; `None` when they do not fill it.
fn in_place(shards: &[Run]) -> Option<Vec<PlannedCase>> {
    let count = shards.iter().map(|s| s.header.plan.len()).sum();
    let mut plan: Vec<Option<PlannedCase>> = vec![None; count];
    for shard in shards {
        if shard.header.places.len() != shard.header.plan.len() {
            return None;
        }
        for (place, case) in shard.header.places.iter().zip(&shard.header.plan) {
            *plan.get_mut(*place as usize)? = Some(case.clone());
        }
    }
    plan.into_iter().collect()
}

/// The plan if its cases were dealt to the shards in turn, as `slice` does.
fn dealt(shards: &[Run]) -> Vec<PlannedCase> {
    let rounds = shards.iter().map(|s| s.header.plan.len()).max().unwrap_or(0);
    (0..rounds)
        .flat_map(|round| shards.iter().filter_map(move |s| s.header.plan.get(round).cloned()))
        .collect()
}

/// The digest of a plan, as the run file defines it: SHA-256 over the case ids, one per line.
fn digest(plan: &[PlannedCase]) -> String {
    let ids: Vec<&str> = plan.iter().map(|c| c.id.as_str()).collect();
    Sha256::digest(ids.join("\n").as_bytes()).iter().fold(String::new(), |mut out, b| {
        let _ = write!(out, "{b:02x}");
        out
    })
}

/// Duration is the longest, because shards run at the same time; the rest is recounted.
fn footer(a: &Run, b: &Run) -> Footer {
    let of = |run: &Run| run.footer.clone();
    let cancelled = [a, b].iter().any(|r| !r.is_complete());
    let duration = [a, b].iter().filter_map(|r| of(r).map(|f| f.duration_ms)).fold(0.0, f64::max);
    let codes = [a, b].into_iter().filter_map(of).map(|f| f.exit_code);
    let code = codes
        .map(|code| ExitCode::ALL.into_iter().find(|c| c.code() == code).unwrap_or(ExitCode::Trouble))
        .reduce(combine)
        .unwrap_or(ExitCode::Trouble);
    Footer {
        status: if cancelled { RunStatus::Cancelled } else { RunStatus::Complete },
        duration_ms: duration,
        planned: 0,
        counts: BTreeMap::new(),
        replaced: {
            let labels = [a, b].into_iter().filter_map(of).flat_map(|f| f.replaced);
            labels.collect::<BTreeSet<String>>().into_iter().collect()
        },
        exit_code: code.code(),
    }
}

/// A shard in which nothing could be decided does not undo the verdict of the others.
fn combine(a: ExitCode, b: ExitCode) -> ExitCode {
    match (a, b) {
        (ExitCode::NothingRan, ExitCode::Success) | (ExitCode::Success, ExitCode::NothingRan) => {
            ExitCode::Success
        }
        _ => a.and(b),
    }
}

fn finish(mut run: Run) -> Result<Run, MergeError> {
    let mut seen: HashSet<(&str, &str)> = HashSet::new();
    for record in &run.records {
        if !seen.insert((record.case.as_str(), record.target.as_str())) {
            return Err(MergeError::Overlap { case: record.case.to_string(), target: record.target.clone() });
        }
    }
    let place: HashMap<&str, usize> =
        run.header.plan.iter().enumerate().map(|(i, c)| (c.id.as_str(), i)).collect();
    let column: HashMap<&str, usize> =
        run.header.targets.iter().enumerate().map(|(i, t)| (t.label.as_str(), i)).collect();
    let key = |r: &CaseRecord| {
        let case = place.get(r.case.as_str()).copied().unwrap_or(usize::MAX);
        (case, column.get(r.target.as_str()).copied().unwrap_or(usize::MAX), r.attempt)
    };
    run.records.sort_by_cached_key(key);
    run.superseded.sort_by_cached_key(key);
    run.benches.sort_by(|a, b| a.0.cmp(&b.0));
    let counts = run.counts();
    let planned = run.records.len() as u64;
    if let Some(footer) = &mut run.footer {
        footer.counts = counts;
        footer.planned = planned;
    }
    Ok(run)
}

/// One column per target and node.
fn side_by_side(nodes: Vec<Run>) -> Result<Run, MergeError> {
    let names = node_names(&nodes.iter().map(|run| node_name(&run.header)).collect::<Vec<_>>());
    let mut all: Option<Run> = None;
    for (run, name) in nodes.into_iter().zip(names) {
        beside(&mut all, run, &name);
    }
    finish(all.ok_or(MergeError::Nothing)?)
}

/// Merges whole runs of one plan on several nodes, of which only one is in memory at a time besides the result.
/// `headers` are those of all runs, `read` gives the run at a position.
///
/// # Errors
/// As [`merge()`], and what `read` fails with.
pub fn merge_nodes<E: From<MergeError>>(
    headers: &[NodeHeader],
    mut read: impl FnMut(usize) -> Result<Run, E>,
) -> Result<Run, E> {
    let names = node_names(&headers.iter().map(|h| h.node.clone()).collect::<Vec<_>>());
    let mut all: Option<Run> = None;
    for (i, name) in names.iter().enumerate() {
        let run = read(i)?;
        let first = headers[0].plan_digest.clone();
        if run.header.plan_digest != first {
            let digest = run.header.plan_digest;
            return Err(MergeError::OtherPlan { run: i + 1, digest, first }.into());
        }
        if run.footer.is_none() {
            return Err(MergeError::Incomplete { run: i + 1, id: run.header.run_id }.into());
        }
        beside(&mut all, run, name);
    }
    Ok(finish(all.ok_or(MergeError::Nothing)?)?)
}

/// What has to be known of every run before the first is merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeHeader {
    /// The plan's digest.
    pub plan_digest: String,
    /// Whether it is a shard.
    pub shard: bool,
    /// What the node calls itself.
    pub node: Option<String>,
}

impl NodeHeader {
    /// From the first line of a run file; its plan and catalogue, which are nearly all of it, are passed over.
    ///
    /// # Errors
    /// When the line is no header.
    pub fn read(line: &[u8]) -> serde_json::Result<Self> {
        #[derive(serde::Deserialize)]
        struct First {
            event: Name,
            plan_digest: String,
            partition: Option<serde::de::IgnoredAny>,
            host: HostFacts,
        }
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "kebab-case")]
        enum Name {
            Header,
        }
        let First { event: Name::Header, plan_digest, partition, host } = serde_json::from_slice(line)?;
        Ok(Self { plan_digest, shard: partition.is_some(), node: host_name(&host) })
    }
}

/// Adds a node's columns.
fn beside(all: &mut Option<Run>, mut run: Run, name: &str) {
    let rename = |label: &str| format!("{label}@{name}");
    for target in &mut run.header.targets {
        *target = TargetInfo { label: rename(&target.label), ..target.clone() };
        let host = &run.header.host;
        for (key, value) in
            [("node", name), ("kernel", &host.kernel), ("os", &host.os), ("cgroups", &host.cgroups)]
        {
            target.facts.insert(key.to_owned(), value.into());
        }
    }
    for record in run.records.iter_mut().chain(&mut run.superseded) {
        record.target = rename(&record.target);
    }
    for label in run.footer.iter_mut().flat_map(|f| &mut f.replaced) {
        *label = rename(label);
    }
    run.benches.iter_mut().for_each(|(bench, _)| *bench = format!("{bench}@{name}"));
    run.notes.iter_mut().for_each(|note| *note = format!("{name}: {note}"));
    match all {
        None => *all = Some(run),
        Some(all) => {
            all.footer = Some(footer(all, &run));
            all.header.started_at = all.header.started_at.clone().min(run.header.started_at);
            all.header.targets.extend(run.header.targets);
            all.records.extend(run.records);
            all.superseded.extend(run.superseded);
            all.benches.extend(run.benches);
            all.notes.extend(run.notes);
        }
    }
}

/// Names of the nodes: what the host calls itself, numbered where that is missing or not unique.
fn node_names(given: &[Option<String>]) -> Vec<String> {
    let unique = |name: &String| given.iter().flatten().filter(|n| *n == name).count() == 1;
    let pick = |(i, name): (usize, &Option<String>)| match name {
        Some(name) if unique(name) => name.clone(),
        Some(name) => format!("{name}-{}", i + 1),
        None => format!("node-{}", i + 1),
    };
    given.iter().enumerate().map(pick).collect()
}
