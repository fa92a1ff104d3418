//! features.md and features-linux.md: one file per section.

use plimsoll_kit::case::Waiver;
use plimsoll_kit::{Cx, Section, Stop, Value};

pub mod claims;
pub mod document;
mod words;

/// One line per file.
pub static SECTIONS: &[Section] = &[
    Section { name: "features", cases: document::CASES },
    Section { name: "features-claims", cases: claims::CASES },
];

/// Rows without a case.
pub static WAIVERS: &[Waiver] = &[(
    "features.null-not-empty",
    "a rule for readers of the document, which the harness keeps: null there is no claim, an empty list is one",
)];

/// The features document of the target; without one, the case is not applicable.
pub(crate) fn document(cx: &Cx) -> Result<Value, Stop> {
    cx.features().cloned().ok_or_else(|| Stop::NotApplicable {
        capability: "features".into(),
        reason: "the target has no features operation, which is optional".into(),
    })
}

/// The strings of a list in the document; empty when it is absent or null.
pub(crate) fn list(features: &Value, path: &str) -> Vec<String> {
    let value = features.pointer(&format!("/{}", path.replace('.', "/")));
    let items = value.and_then(Value::as_array).into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}
