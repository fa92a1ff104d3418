//! `plimsoll submission`: directories as certification programmes take them.

use crate::args::{SubmissionStyle, SubmissionVerb};
use crate::certify;
use crate::output;
use crate::report;
use crate::usage::Failure;
use plimsoll_model::ExitCode;
use plimsoll_reports::submission::{self, Style};

/// `plimsoll submission`.
pub fn verb(verb: &SubmissionVerb) -> Result<ExitCode, Failure> {
    match verb {
        SubmissionVerb::Build { run, vendor, style, output: below } => {
            let product = certify::product(vendor)?;
            let run = report::read(run)?;
            let style = match style {
                SubmissionStyle::Oci => Style::Oci,
                SubmissionStyle::Cncf => Style::Cncf,
            };
            let made = submission::build(&run, &product, &certify::harness()?, style)
                .map_err(|e| certify::refused(&e))?;
            let target = below.join(&made.directory);
            if target.exists() {
                return Err(Failure::usage(format!("{} is there already", target.display()))
                    .hint("take it away or name another directory"));
            }
            let files: Vec<(String, Vec<u8>)> = made.files.clone().into_iter().collect();
            certify::write_bundle(&target, &files)?;
            output::line(&target.display().to_string());
            Ok(told(&submission::objections(&made.files)))
        }
        SubmissionVerb::Verify { directory } => {
            Ok(told(&submission::objections(&certify::read_bundle(directory)?)))
        }
    }
}

fn told(objections: &[String]) -> ExitCode {
    for objection in objections {
        output::line(&format!("✗ {}", plimsoll_reports::text::printable(objection)));
    }
    if objections.is_empty() {
        output::line("✓ nothing stands against it");
        return ExitCode::Success;
    }
    ExitCode::GateClosed
}
