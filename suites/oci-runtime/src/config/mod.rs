//! config.md: one file per section.

use plimsoll_kit::Section;
use plimsoll_kit::case::Waiver;

pub mod annotations;
pub mod extensibility;
pub mod hooks;
pub mod hooks_entry;
pub mod hooks_when;
pub mod hooks_where;
pub mod oci_version;

/// One line per file.
pub static SECTIONS: &[Section] = &[
    Section { name: "oci-version", cases: oci_version::CASES },
    Section { name: "hooks", cases: hooks::CASES },
    Section { name: "hooks-entry", cases: hooks_entry::CASES },
    Section { name: "hooks-where", cases: hooks_where::CASES },
    Section { name: "hooks-when", cases: hooks_when::CASES },
    Section { name: "annotations", cases: annotations::CASES },
    Section { name: "extensibility", cases: extensibility::CASES },
];

/// Rows without a case.
pub static WAIVERS: &[Waiver] = &[(
    "annotations.keys-strings",
    "the member names of a JSON object are strings by the grammar: no document can break this rule",
)];
