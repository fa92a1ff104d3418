//! runtime.md, runtime-linux.md, bundle.md and glossary.md: one file per section.

use plimsoll_kit::Section;
use plimsoll_kit::case::Waiver;

pub mod bundle;
pub mod create;
pub mod create_errors;
pub mod create_ids;
pub mod delete;
pub mod dev_symlinks;
pub mod fds;
pub mod hooks;
pub mod json;
pub mod kill;
pub mod lifecycle;
pub mod start;
pub mod state;
pub mod state_hooks;
pub mod state_status;
pub mod support;

/// One line per file.
pub static SECTIONS: &[Section] = &[
    Section { name: "bundle", cases: bundle::CASES },
    Section { name: "json", cases: json::CASES },
    Section { name: "lifecycle", cases: lifecycle::CASES },
    Section { name: "lifecycle-hooks", cases: hooks::CASES },
    Section { name: "state", cases: state::CASES },
    Section { name: "state-status", cases: state_status::CASES },
    Section { name: "state-in-hooks", cases: state_hooks::CASES },
    Section { name: "create", cases: create::CASES },
    Section { name: "create-errors", cases: create_errors::CASES },
    Section { name: "create-ids", cases: create_ids::CASES },
    Section { name: "start", cases: start::CASES },
    Section { name: "kill", cases: kill::CASES },
    Section { name: "delete", cases: delete::CASES },
    Section { name: "fds", cases: fds::CASES },
    Section { name: "dev-symlinks", cases: dev_symlinks::CASES },
];

/// Rows without a case.
pub static WAIVERS: &[Waiver] = &[(
    "meta.compliance.all-must",
    "a rule about the sum of all verdicts: the report's verdict sentence applies it, no single case can",
)];
