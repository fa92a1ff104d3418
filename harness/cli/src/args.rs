//! The command line.

mod certify;
mod endpoint;
mod place;
mod report;

pub use certify::{CertifyArgs, SubmissionStyle, SubmissionVerb, VerifyArgs};
pub use endpoint::{ContainerdArgs, ExportArgs, ImagesVerb, Layout, PushArgs, TestbedVerb};
pub use place::{Accelerate, Cgroups, NodeArgs, VmBuildArgs, VmRunArgs, VmVerb};
pub use report::{Dialect, ExpectationsVerb, HtmlAssets, JunitAttachments, ReportVerb};

pub use crate::bench::args::BenchArgs;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Conformance and benchmark harness for container runtimes.
///
/// Without a verb: judges the bundled reference runtime and CRI server by every suite, benchmarks the runtime beside
/// those found on this host, and writes the reports.
#[derive(Debug, Parser)]
#[command(name = "plimsoll", version, long_version = LONG_VERSION, about, after_help = EXIT_CODES)]
pub struct Cli {
    /// Options of every verb.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub verb: Option<Verb>,
}

/// What a report of a defect needs: `-V` is short, `--version` is this.
const LONG_VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\nrun file format plimsoll-run/1\none static file: runner, suites, probe, images, reference runtimes"
);

const EXIT_CODES: &str = "Exit codes: 0 nothing unexpected · 1 gate closed · 2 usage · 3 trouble (retry may help) · \
    4 nothing ran · 5 benchmark regression · 6 stale expectations · 7 benchmark cannot tell · 130/143 interrupted";

/// Options of every verb.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Directory for the run file and the reports.
    #[arg(long, global = true, default_value = "plimsoll-out", env = "PLIMSOLL_OUT")]
    pub out: PathBuf,
    /// Directory for what a run makes and removes again; needs a file system without noexec.
    #[arg(long, global = true, default_value = "/var/tmp/plimsoll", env = "PLIMSOLL_WORK_DIR")]
    pub work_dir: PathBuf,
    /// Configuration file to read in place of the project's and the user's; `none` reads no file.
    #[arg(long, global = true, value_name = "FILE", env = "PLIMSOLL_CONFIG")]
    pub config: Option<PathBuf>,
    /// When to use colour; `NO_COLOR` and `CLICOLOR_FORCE` decide where it is `auto`.
    #[arg(long, global = true, default_value = "auto", env = "PLIMSOLL_COLOR")]
    pub color: clap::ColorChoice,
    /// Tell more of a run on standard error: -v each case with the calls of the runtime that are kept, which are those
    /// of every outcome but a pass; -vv also their output, and each attempt as it begins.
    #[arg(short = 'v', long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Flags that say what files and variables said, for the command line in the run file.
    #[arg(skip)]
    pub resolved: Vec<String>,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Judge targets by the suites and write the reports.
    Run(Box<RunArgs>),
    /// List the cases.
    List(ListArgs),
    /// Print a requirement with the cases that cover it, or a case with the requirements that it covers.
    Explain {
        /// A requirement id, a case id, or a fault id.
        name: String,
    },
    /// Print how much of each specification the suites cover.
    Coverage {
        /// Shape of the output.
        #[arg(long, default_value = "human")]
        format: Shape,
    },
    /// Say what this host, and these targets, can and cannot show.
    Doctor {
        /// Target as for `run`; repeat for more.
        #[arg(short = 't', long = "target")]
        target: Vec<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Remove what killed runs left behind.
    Gc {
        /// Only this run.
        #[arg(long)]
        run: Option<String>,
    },
    /// Render, merge or compare run files.
    Report {
        /// What to do with them.
        #[command(subcommand)]
        verb: ReportVerb,
    },
    /// Compare runtimes by cold start, throughput and density.
    Bench(BenchArgs),
    /// Prove that the suites can fail: run them against injected faults.
    Selftest(SelftestArgs),
    /// Run everything that a certificate rests on, and write a signed bundle; or make a key pair.
    Certify(CertifyArgs),
    /// Check a signed bundle: 0 when it is authentic and shows conformance, else 1.
    Verify(VerifyArgs),
    /// Run this program on the node that this container runs on, in the node's own file system.
    Node(NodeArgs),
    /// Run this program in a throw-away virtual machine.
    Vm {
        /// What to do.
        #[command(subcommand)]
        verb: VmVerb,
    },
    /// Keep the file of known failures true.
    Expectations {
        /// What to do with it.
        #[command(subcommand)]
        verb: ExpectationsVerb,
    },
    /// Lay out a run as a certification programme wants it, or check such a directory.
    Submission {
        /// What to do.
        #[command(subcommand)]
        verb: SubmissionVerb,
    },
    /// Show what files, variables and gates say.
    Config {
        /// What to do.
        #[command(subcommand)]
        verb: ConfigVerb,
    },
    /// Print a JSON Schema.
    Schema {
        /// `run` or `expectations`.
        name: String,
    },
    /// Print a completion script.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page.
    Man {
        /// Of this verb.
        verb: Option<String>,
    },
    /// Start a private CRI server of another product, run a command beside it, and clear everything away.
    Testbed {
        /// Which server.
        #[command(subcommand)]
        verb: TestbedVerb,
    },
    /// Write or push the generated images that the CRI suite uses, or an image of this executable.
    Images {
        /// What to do with them.
        #[command(subcommand)]
        verb: ImagesVerb,
    },
    /// The bundled reference OCI runtime, with the usual command line.
    Oci {
        /// Its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// The bundled reference CRI server.
    Cri {
        /// Its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// The fault-injecting OCI runtime wrapper.
    Faults {
        /// Its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

/// Shape of printed data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shape {
    /// For people.
    Human,
    /// One JSON document.
    Json,
    /// Markdown.
    Markdown,
}

/// Shape of a run's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Failures and a summary, for people.
    Human,
    /// One line for each case that needs a look, and the verdict.
    Concise,
    /// One JSON document with the counts and what needs a look.
    Json,
    /// The run file's lines.
    Jsonl,
    /// TAP 14.
    Tap,
    /// Failures and a summary, and annotations for GitHub Actions.
    Github,
}

/// Selecting cases.
#[derive(Debug, Clone, Default, Args)]
pub struct SelectArgs {
    /// Profile, by what it says of a runtime:
    /// smoke: one case of each section - is this a runtime at all, and does the harness work here?
    /// must: every case that covers a MUST, MUST NOT or REQUIRED - is it conformant?
    /// full: every case of the specifications and of the de-facto command line - what will its users meet?
    /// security: protections whose absence was a vulnerability, without races (name those: -E 'tag(race)').
    /// certify: every case of the specifications and nothing else - what a certificate rests on.
    #[arg(short = 'P', long, default_value = "full", env = "PLIMSOLL_PROFILE", verbatim_doc_comment)]
    pub profile: String,
    /// Filter expression over `suite(X)`, `section(X)`, `case(X)`, `req(X)`, `level(X)`, `tag(X)` with and, or, not.
    #[arg(short = 'E', long = "filter")]
    pub filter: Vec<String>,
    /// Exactly this case; repeat for more.
    #[arg(long = "case")]
    pub case: Vec<String>,
    /// Parts of case ids, or paths such as oci-runtime/kill.
    pub names: Vec<String>,
}

/// `plimsoll run`.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// Target: oci:PATH, oci:NAME, NAME, cri:unix:///SOCKET, ref:oci, ref:cri, @testbed; with ?key=value parameters.
    /// Repeat to compare.
    #[arg(short = 't', long = "target", default_value = "ref:oci")]
    pub target: Vec<String>,
    /// Which cases.
    #[command(flatten)]
    pub select: SelectArgs,
    /// Attempts at the same time.
    #[arg(short = 'j', long, env = "PLIMSOLL_JOBS")]
    pub jobs: Option<usize>,
    /// Run only a share: slice:m/n, hash:m/n, m/n, or auto: the share that the CI system or Kubernetes names.
    #[arg(long)]
    pub partition: Option<String>,
    /// An earlier run whose timings make the shares of `auto` and `m/n` equally long; the same file for every share.
    #[arg(long, value_name = "RUN", requires = "partition")]
    pub balance: Option<PathBuf>,
    /// Attempt a case that ended with Error this many times more.
    #[arg(long, default_value_t = 0)]
    pub retries: u32,
    /// Stop after the first unexpected failure.
    #[arg(long, conflicts_with = "max_fail")]
    pub fail_fast: bool,
    /// Stop after this many unexpected failures.
    #[arg(long, default_value_t = 0)]
    pub max_fail: u32,
    /// Copy every attempt's work directory below this one.
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = "plimsoll-out/kept")]
    pub keep: Option<PathBuf>,
    /// Seed of everything random.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Multiply every deadline by this.
    #[arg(long, default_value_t = 1.0, env = "PLIMSOLL_TIMEOUT_SCALE")]
    pub timeout_scale: f64,
    /// Known failures, as TOML; see harness/docs/OUTCOMES.md.
    #[arg(long)]
    pub expectations: Option<PathBuf>,
    /// Named set of options from the configuration: pr, release, or one of your own; see `plimsoll config show`.
    #[arg(long, value_name = "NAME", env = "PLIMSOLL_GATE")]
    pub gate: Option<String>,
    /// Warnings, fixed known failures and stale entries close the gate as well.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false",
        action = clap::ArgAction::Set)]
    pub strict: bool,
    /// Only the cases that `failed` (ended badly, in trouble or not at all) in this run file, on its targets.
    #[arg(long, num_args = 2, value_names = ["failed", "RUN"], conflicts_with_all = ["filter", "case", "names"])]
    pub rerun: Vec<String>,
    /// Run all of it this many times: cases whose verdicts differ are flaky and close the gate.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000),
        conflicts_with_all = ["retries", "fail_fast", "max_fail"])]
    pub stress_count: Option<u32>,
    /// Report to write: junit=PATH, html=PATH, markdown=PATH, tap=PATH, ctrf=PATH, openmetrics=PATH, badge=PATH, jsonl=PATH.
    #[arg(long = "report", value_name = "KIND=PATH")]
    pub report: Vec<String>,
    /// How the reports are written.
    #[command(flatten)]
    pub dialect: Dialect,
    /// Shape of standard output.
    #[arg(long, default_value = "human")]
    pub format: Format,
    /// Keep the suite `security` out of every report and of standard output; run.jsonl alone holds its findings.
    #[arg(long)]
    pub embargo: bool,
    /// Print the plan and stop.
    #[arg(long)]
    pub dry_run: bool,
    /// Always exit with 0 when something ran.
    #[arg(long)]
    pub exit_zero: bool,
    /// A certifier's nonce, kept in the run file.
    #[arg(long)]
    pub challenge: Option<String>,
    /// Whether the command line itself names targets.
    #[arg(skip)]
    pub target_given: bool,
}

/// `plimsoll list`.
#[derive(Debug, Clone, Args)]
pub struct ListArgs {
    /// Which cases.
    #[command(flatten)]
    pub select: SelectArgs,
    /// `human`, `names` or `json`.
    #[arg(long, default_value = "human", value_parser = ["human", "names", "json"])]
    pub format: String,
}

/// `plimsoll selftest`.
#[derive(Debug, Clone, Args)]
pub struct SelftestArgs {
    /// The runtime to break.
    #[arg(short = 't', long, default_value = "ref:oci")]
    pub target: String,
    /// Only these faults: a glob over ids, `layer:GLOB` or `req:GLOB`, joined by commas when all must hold, with `!`
    /// before what must not; repeat for more.
    #[arg(long = "faults", value_name = "EXPR")]
    pub faults: Vec<String>,
    /// Only so many faults, drawn with the seed.
    #[arg(long)]
    pub sample: Option<usize>,
    /// Seed of the draw.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Run every case against every fault, not only the cases that cover what is broken.
    #[arg(long)]
    pub full: bool,
    /// The reference runtime built with its fault points (`cargo build -p plimsoll-oci --features faults`): faults that
    /// only a runtime's inside can have are tried on it.
    #[arg(long, value_name = "PROGRAM")]
    pub inside: Option<PathBuf>,
    /// Run nothing: print these finished results (selftest.json), those of the same target joined; repeat for more.
    #[arg(long, value_name = "FILE")]
    pub from: Vec<PathBuf>,
    /// Shape of the printed result.
    #[arg(long, value_enum, default_value_t = Shape::Human)]
    pub format: Shape,
    /// File of fault ids that no case finds yet, one per line with a reason after it; they do not close the gate, and
    /// one that is found after all does.
    #[arg(long)]
    pub known_survivors: Option<PathBuf>,
    /// Attempts at the same time.
    #[arg(short = 'j', long)]
    pub jobs: Option<usize>,
    /// Multiply every deadline by this.
    #[arg(long, default_value_t = 1.0)]
    pub timeout_scale: f64,
}

/// `plimsoll config ...`.
#[derive(Debug, Clone, Subcommand)]
pub enum ConfigVerb {
    /// Print what holds, as a file that would set it.
    Show {
        /// Say where each value comes from.
        #[arg(long)]
        origin: bool,
        /// Lay this gate over the files.
        #[arg(long, value_name = "NAME")]
        gate: Option<String>,
    },
    /// Print the reference file: every key with its default.
    Default,
}
