//! The command line of certificates and submissions.

use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// `plimsoll certify`.
#[derive(Debug, Clone, Args)]
pub struct CertifyArgs {
    /// Make a key pair, private.pem and public.pem, in this directory, and stop.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["vendor", "key", "run", "challenge", "output"])]
    pub new_key: Option<PathBuf>,
    /// The vendor's words about the product, as TOML: vendor, name, version, description, ...
    #[arg(long, value_name = "FILE", required_unless_present = "new_key")]
    pub vendor: Option<PathBuf>,
    /// The private key that signs: ed25519, PKCS #8 PEM.
    #[arg(long, value_name = "FILE", required_unless_present = "new_key")]
    pub key: Option<PathBuf>,
    /// Target as for `run`.
    #[arg(short = 't', long, default_value = "ref:oci", conflicts_with = "run")]
    pub target: String,
    /// Certify this run instead of making one.
    #[arg(long, value_name = "FILE")]
    pub run: Option<PathBuf>,
    /// The certifier's nonce.
    #[arg(long)]
    pub challenge: Option<String>,
    /// Directory for the bundle; must not exist.
    #[arg(short, long, value_name = "DIR", required_unless_present = "new_key")]
    pub output: Option<PathBuf>,
}

/// `plimsoll verify`.
#[derive(Debug, Clone, Args)]
pub struct VerifyArgs {
    /// Directory of the bundle.
    pub bundle: PathBuf,
    /// The vendor's public key: SPKI PEM.
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// The nonce that the run must answer.
    #[arg(long)]
    pub challenge: Option<String>,
    /// SHA-256 of a harness executable to trust; repeat for more; any when absent.
    #[arg(long = "harness", value_name = "SHA256")]
    pub harness: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// The layout that a programme wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SubmissionStyle {
    /// `SPEC/vX.Y/PRODUCT/` with PRODUCT.yaml, README.md, results.yaml, report.html, junit.xml.
    Oci,
    /// `vX.Y/PRODUCT/` with PRODUCT.yaml, README.md, e2e.log, `junit_01.xml`.
    Cncf,
}

/// `plimsoll submission ...`.
#[derive(Debug, Clone, Subcommand)]
pub enum SubmissionVerb {
    /// Write the directory.
    Build {
        /// The run file: one whole run of the profile `certify`.
        run: PathBuf,
        /// The vendor's words about the product, as TOML.
        #[arg(long, value_name = "FILE")]
        vendor: PathBuf,
        /// The programme's layout.
        #[arg(long, default_value = "oci")]
        style: SubmissionStyle,
        /// Directory below which the programme's directories are made.
        #[arg(short, long, value_name = "DIR")]
        output: PathBuf,
    },
    /// Check what a reviewer would: 0 when nothing stands against it, else 1.
    Verify {
        /// The product's directory.
        directory: PathBuf,
    },
}
