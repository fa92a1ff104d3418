//! config.md: one file per section.

use plimsoll_kit::Section;
use plimsoll_kit::case::Waiver;

pub mod annotations;
pub mod extensibility;
pub mod hooks;
pub mod hooks_entry;
pub mod hooks_when;
pub mod hooks_where;
pub mod limits;
pub mod mapped_mounts;
pub mod mount_options;
pub mod mounts;
pub mod oci_version;
pub mod process;
pub mod root;
pub mod scheduling;
pub mod version_gates;

/// One line per file.
pub static SECTIONS: &[Section] = &[
    Section { name: "oci-version", cases: oci_version::CASES },
    Section { name: "version-gates", cases: version_gates::CASES },
    Section { name: "hooks", cases: hooks::CASES },
    Section { name: "hooks-entry", cases: hooks_entry::CASES },
    Section { name: "hooks-where", cases: hooks_where::CASES },
    Section { name: "hooks-when", cases: hooks_when::CASES },
    Section { name: "annotations", cases: annotations::CASES },
    Section { name: "extensibility", cases: extensibility::CASES },
    Section { name: "process", cases: process::CASES },
    Section { name: "limits", cases: limits::CASES },
    Section { name: "scheduling", cases: scheduling::CASES },
    Section { name: "root", cases: root::CASES },
    Section { name: "mounts", cases: mounts::CASES },
    Section { name: "mount-options", cases: mount_options::CASES },
    Section { name: "mapped-mounts", cases: mapped_mounts::CASES },
];

/// Rows without a case.
pub static WAIVERS: &[Waiver] = &[(
    "annotations.keys-strings",
    "the member names of a JSON object are strings by the grammar: no document can break this rule",
)];
