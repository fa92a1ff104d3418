//! The container state as a runtime reports it.

use serde_json::Value;

/// A parsed answer of the state operation. Values that are absent or of another type are empty: a case that demands
/// them checks [`State::raw`].
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// The whole document.
    pub raw: Value,
}

impl State {
    /// The status word; empty when absent.
    pub fn status(&self) -> &str {
        self.text("status")
    }

    /// The id; empty when absent.
    pub fn id(&self) -> &str {
        self.text("id")
    }

    /// The bundle path; empty when absent.
    pub fn bundle(&self) -> &str {
        self.text("bundle")
    }

    /// The specification version; empty when absent.
    pub fn oci_version(&self) -> &str {
        self.text("ociVersion")
    }

    /// The init process's id; `None` when absent or zero.
    pub fn pid(&self) -> Option<i32> {
        self.raw["pid"].as_i64().and_then(|p| i32::try_from(p).ok()).filter(|p| *p > 0)
    }

    fn text(&self, key: &str) -> &str {
        self.raw[key].as_str().unwrap_or_default()
    }
}
