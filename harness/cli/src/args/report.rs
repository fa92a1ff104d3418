//! The command line of reports: what is written, merged, compared and expected.

use super::Shape;
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// What consumers of reports want differently.
#[derive(Debug, Clone, Copy, Args)]
pub struct Dialect {
    /// How JUnit names evidence files; auto looks at `GITLAB_CI` and `JENKINS_URL`.
    #[arg(long, default_value = "auto")]
    pub junit_attachments: JunitAttachments,
    /// Whether style and script stand in the page, or beside it for servers that forbid inline style.
    #[arg(long, default_value = "inline")]
    pub html_assets: HtmlAssets,
}

/// How JUnit names evidence files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum JunitAttachments {
    /// As the CI system that is there wants it.
    Auto,
    /// Relative to the project's directory, on failures.
    Gitlab,
    /// Absolute, on every case with evidence.
    Jenkins,
    /// Not at all.
    None,
}

/// Where style and script of the page live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum HtmlAssets {
    /// In the page.
    Inline,
    /// In report.css and report.js beside it.
    External,
}

impl Default for Dialect {
    fn default() -> Self {
        Self { junit_attachments: JunitAttachments::Auto, html_assets: HtmlAssets::Inline }
    }
}

/// `plimsoll report ...`.
#[derive(Debug, Clone, Subcommand)]
pub enum ReportVerb {
    /// Render a run file.
    Render {
        /// The run file.
        run: PathBuf,
        /// As for `plimsoll run`; the page to standard output when absent.
        #[arg(long = "report", value_name = "KIND=PATH")]
        report: Vec<String>,
        /// Result of `plimsoll selftest` to show as well.
        #[arg(long, value_name = "FILE")]
        selftest: Option<PathBuf>,
        /// Result of `plimsoll bench` to show as well.
        #[arg(long, value_name = "FILE")]
        bench: Option<PathBuf>,
        /// Warnings and fixed known failures are failures in JUnit.
        #[arg(long)]
        strict: bool,
        /// An earlier run to compare with on the page.
        #[arg(long)]
        baseline: Option<PathBuf>,
        /// Keep the suite `security` out of the reports.
        #[arg(long)]
        embargo: bool,
        /// How the reports are written.
        #[command(flatten)]
        dialect: Dialect,
    },
    /// Merge the shards of one run, or the runs of one plan on several nodes.
    Merge {
        /// The run files.
        #[arg(required = true)]
        runs: Vec<PathBuf>,
        /// They are whole runs: name the columns by node even if there is one only, and print a table of the nodes.
        #[arg(long)]
        nodes: bool,
        /// The merged run file.
        #[arg(short, long)]
        output: PathBuf,
    },
    /// Compare two runs.
    Diff {
        /// The earlier run file.
        old: PathBuf,
        /// The later run file.
        new: PathBuf,
        /// Shape of the output.
        #[arg(long, default_value = "human")]
        format: Shape,
    },
    /// Show how verdicts changed over several runs.
    Trend {
        /// The run files, oldest first.
        #[arg(required = true)]
        runs: Vec<PathBuf>,
        /// Shape of the output.
        #[arg(long, default_value = "human")]
        format: Shape,
    },
}

/// `plimsoll expectations ...`.
#[derive(Debug, Clone, Subcommand)]
pub enum ExpectationsVerb {
    /// Add what fails unexpectedly, and drop what passes now.
    Update {
        /// Run file; repeat for several targets or hosts.
        #[arg(long, required = true)]
        run: Vec<PathBuf>,
        /// The expectations file; made when absent.
        #[arg(long)]
        file: PathBuf,
    },
    /// Print entries that match nothing or pass now; exit code 6 when there are any.
    Check {
        /// Run file; repeat for several targets or hosts.
        #[arg(long, required = true)]
        run: Vec<PathBuf>,
        /// The expectations file.
        #[arg(long)]
        file: PathBuf,
    },
}
