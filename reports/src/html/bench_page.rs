//! A page of its own for a benchmark that belongs to no run.

use askama::Template;
use serde_json::Value;

use super::{CSS, JS, Page, Section, bench, policy};
use crate::bench::BenchRun;
use crate::text::{one_line, shorten};

/// The page; `None` when the value is no result of a known format.
pub fn bench_page(result: &Value) -> Option<String> {
    let run = BenchRun::read(result)?;
    let (class, sentence) = bench::sentence(&run);
    let (gate_class, gate_glyph) = match class {
        "p" => ("open", '✓'),
        "f" => ("closed", '✗'),
        _ => ("none", '?'),
    };
    let names: Vec<String> = run.targets.iter().take(20).map(|t| one_line(&t.name)).collect();
    let body = bench::all(&[("bench", run)]);
    let headline = sentence.trim_start_matches(|c: char| !c.is_alphabetic()).trim_end_matches('.').to_owned();
    let page = Page {
        csp: policy(true),
        title: shorten(&format!("{headline}: {}", names.join(", ")), 300),
        css: Some(CSS),
        js: Some(JS),
        subtitle: shorten(&format!("Benchmark of {}", names.join(", ")), 300),
        gate_class,
        gate_glyph,
        headline,
        verdicts: Vec::new(),
        verdict_lines: Vec::new(),
        first: String::new(),
        sections: vec![Section { id: "benchmarks", title: "Benchmarks", body }],
        footer: "Made by plimsoll bench.".to_owned(),
        data: "{}".to_owned(),
    };
    page.render().ok()
}
