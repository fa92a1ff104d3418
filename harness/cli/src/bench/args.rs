//! The command line of `plimsoll bench`.

use clap::Args;
use std::ffi::OsString;
use std::path::PathBuf;

/// `plimsoll bench`.
#[derive(Debug, Clone, Args)]
pub struct BenchArgs {
    /// Targets as for `run`, all OCI runtimes or all CRI endpoints; the first is the baseline. `?inject=DEFECT` wraps an
    /// OCI runtime in a known defect; `ref:cri?network=cni` gives the reference server the installed network plugins.
    #[arg(short = 't', long = "target", required_unless_present = "worker")]
    pub target: Vec<String>,
    /// Scenarios: cold-start, lifecycle, throughput, density, ... Repeat for more.
    #[arg(short, long = "scenario", default_value = "cold-start")]
    pub scenario: Vec<String>,
    /// An earlier run as a standard: a ratio to the baseline target that got worse beyond both runs' intervals closes the
    /// gate.
    #[arg(long, value_name = "RUN")]
    pub baseline: Option<PathBuf>,
    /// An earlier run of the same comparison: its evidence is added to, not gambled with.
    #[arg(long, value_name = "RUN")]
    pub continues: Option<PathBuf>,
    /// Gate profile: release, strict or smoke.
    #[arg(long, default_value = "release")]
    pub gate: String,
    /// Only this metric decides; repeat for more.
    #[arg(long = "metric")]
    pub metric: Vec<String>,
    /// Seed of every random choice.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Longest time per scenario, in seconds.
    #[arg(long, default_value_t = 60)]
    pub budget: u64,
    /// Most live containers (or pods) in the density scenario.
    #[arg(long, default_value_t = 50)]
    pub density: usize,
    /// Test the benchmark itself: inject known defects into the first target.
    #[arg(long)]
    pub selftest: bool,
    /// Measure what the engine adds to a case beyond the runtime's own calls, with a runtime that does nothing.
    #[arg(long, conflicts_with_all = ["target", "selftest", "repeat"])]
    pub worker: bool,
    /// With --selftest: only rows whose name contains this.
    #[arg(long, requires = "selftest")]
    pub only: Option<String>,
    /// Add a copy of the baseline that voids the result when it differs.
    #[arg(long)]
    pub sentinel: bool,
    /// Run the lifecycles in the real-time class `SCHED_FIFO`.
    #[arg(long)]
    pub fifo: bool,
    /// Repeat the comparison so many times and count the verdicts: false alarms and power of the gate.
    #[arg(long, conflicts_with_all = ["selftest", "output", "exports"])]
    pub repeat: Option<u64>,
    /// Write the result as JSON here; bench.json in the output directory when absent.
    #[arg(short, long)]
    pub output: Option<PathBuf>,
    /// Also write HTML, JUnit, CSV, Markdown, Bencher, github-action-benchmark and OpenMetrics files into this directory.
    #[arg(long)]
    pub exports: Option<PathBuf>,
    /// The command line to show as the one that does this run again.
    #[arg(long, hide = true)]
    pub replay: Option<String>,
}

impl BenchArgs {
    /// All arguments of the verb, with other targets.
    pub fn words(&self, targets: &[String]) -> Vec<OsString> {
        let mut words: Vec<OsString> = Vec::new();
        let mut pair = |flag: &str, value: OsString| words.extend([flag.into(), value]);
        for target in targets {
            pair("-t", target.into());
        }
        for scenario in &self.scenario {
            pair("--scenario", scenario.into());
        }
        for metric in &self.metric {
            pair("--metric", metric.into());
        }
        pair("--gate", (&self.gate).into());
        for (flag, number) in
            [("--seed", self.seed), ("--budget", self.budget), ("--density", self.density as u64)]
        {
            pair(flag, number.to_string().into());
        }
        if let Some(times) = self.repeat {
            pair("--repeat", times.to_string().into());
        }
        for (flag, text) in [("--only", &self.only), ("--replay", &self.replay)] {
            if let Some(text) = text {
                pair(flag, text.into());
            }
        }
        let paths = [
            ("--baseline", &self.baseline),
            ("--continues", &self.continues),
            ("--output", &self.output),
            ("--exports", &self.exports),
        ];
        for (flag, path) in paths {
            if let Some(path) = path {
                pair(flag, path.into());
            }
        }
        for (flag, on) in
            [("--selftest", self.selftest), ("--sentinel", self.sentinel), ("--fifo", self.fifo)]
        {
            if on {
                words.push(flag.into());
            }
        }
        words
    }

    /// The command line that does this run again.
    pub fn again(&self) -> String {
        if let Some(replay) = &self.replay {
            return replay.clone();
        }
        let bare = Self { output: None, exports: None, ..self.clone() };
        let words = bare.words(&self.target);
        let quoted = words.iter().map(|w| {
            let word = w.to_string_lossy();
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@,+=".contains(c);
            if !word.is_empty() && word.chars().all(plain) {
                word.into_owned()
            } else {
                format!("'{}'", word.replace('\'', "'\\''"))
            }
        });
        format!("plimsoll bench {}", quoted.collect::<Vec<_>>().join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        bench: BenchArgs,
    }

    #[test]
    fn words_say_all_that_was_said() {
        let said = [
            "x",
            "-t",
            "ref:oci",
            "-t",
            "oci:crun?cgroups=legacy",
            "--scenario",
            "exec",
            "--scenario",
            "stop",
            "--metric",
            "cpu.lifecycle",
            "--gate",
            "smoke",
            "--seed",
            "7",
            "--budget",
            "5",
            "--density",
            "9",
            "--baseline",
            "a.json",
            "--continues",
            "b.json",
            "--output",
            "c.json",
            "--exports",
            "d",
            "--sentinel",
            "--fifo",
        ];
        let first = Line::try_parse_from(said).unwrap().bench;
        let words = first.words(&first.target);
        let again = Line::try_parse_from(std::iter::once("x".into()).chain(words)).unwrap().bench;
        assert_eq!(format!("{first:?}"), format!("{again:?}"));
        let line = first.again();
        assert!(line.contains("'oci:crun?cgroups=legacy'") && !line.contains("c.json"), "{line}");
    }
}
