//! features.md and features-linux.md: one file per section.

use plimsoll_kit::Section;
use plimsoll_kit::case::Waiver;

/// One line per file.
pub static SECTIONS: &[Section] = &[];

/// Rows without a case.
pub static WAIVERS: &[Waiver] = &[];
