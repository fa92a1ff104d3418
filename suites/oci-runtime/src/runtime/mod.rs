//! runtime.md, runtime-linux.md, bundle.md and glossary.md: one file per section.

use plimsoll_kit::Section;
use plimsoll_kit::case::Waiver;

pub mod kill;

/// One line per file.
pub static SECTIONS: &[Section] = &[Section { name: "kill", cases: kill::CASES }];

/// Rows without a case.
pub static WAIVERS: &[Waiver] = &[(
    "meta.compliance.all-must",
    "a rule about the sum of all verdicts: the report's verdict sentence applies it, no single case can",
)];
