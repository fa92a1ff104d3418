//! Renderings of a run: pure functions from [`BenchRun`] to text.

use crate::result::BenchRun;
use std::fmt::Write;

/// The whole run, raw samples included.
pub fn json(run: &BenchRun) -> Result<String, serde_json::Error> {
    serde_json::to_string(run)
}

/// A summary for a terminal.
pub fn text(run: &BenchRun) -> String {
    let mut out = String::new();
    for scenario in &run.scenarios {
        let _ = writeln!(out, "{} ({} blocks)", scenario.title, scenario.blocks);
        for arm in &scenario.arms {
            let _ = writeln!(out, "  {}: {} tried, {} failed", arm.target, arm.attempts, arm.failed);
            if let Some((block, failure)) = arm.failures.first() {
                let _ = writeln!(out, "    first failure, block {block}: {failure}");
            }
            for s in &arm.series {
                if let Some(m) = &s.summary {
                    let _ = writeln!(
                        out,
                        "    {:22} p50 {:>10.3} {:4} p90 {:>10.3}  max {:>10.3}",
                        s.metric,
                        m.p50,
                        s.unit.symbol(),
                        m.p90,
                        m.max
                    );
                }
            }
        }
        for c in &scenario.comparisons {
            let _ =
                writeln!(out, "  {} against {}: {}: {}", c.candidate, c.baseline, c.verdict.word(), c.says);
        }
        for c in &scenario.curves {
            let _ = writeln!(out, "  {} {}: {}", c.target, c.name, c.says);
        }
        for (target, what, c) in &scenario.closures {
            let word = if c.closes { "closes" } else { "DOES NOT CLOSE" };
            let _ = writeln!(out, "  {target}: {what}: {:.4}, {word}", c.ratio);
        }
        if let Some(why) = &scenario.cut_short {
            let _ = writeln!(out, "  cut short: {why}");
        }
    }
    out
}
