//! Every other shape of a result, side by side in one directory.

use crate::output;
use crate::usage::Failure;
use plimsoll_bench_scenarios::{BenchRun, export};
use plimsoll_reports::{html, junit_bench};
use std::path::Path;

/// Writes all of them.
pub fn write(result: &BenchRun, json: &str, dir: &Path) -> Result<(), Failure> {
    let action = export::github_action(result);
    let value = serde_json::from_str(json).map_err(|e| Failure::trouble(e.to_string()))?;
    let shown = |what: Option<String>| what.ok_or_else(|| Failure::trouble("the result cannot be shown"));
    for (name, text) in [
        ("bench.json", json.to_owned()),
        ("bench.csv", export::csv(result)),
        ("bench.md", export::markdown(result)),
        ("bench.html", shown(html::bench_page(&value))?),
        ("bench.xml", shown(junit_bench::render(&value))?),
        ("bencher.json", export::bencher(result).to_string()),
        ("action-smaller.json", action.smaller_is_better.to_string()),
        ("action-bigger.json", action.bigger_is_better.to_string()),
        ("bench.om", export::open_metrics(result)),
    ] {
        output::file(&dir.join(name), text.as_bytes())?;
    }
    Ok(())
}
