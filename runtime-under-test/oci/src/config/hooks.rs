//! `hooks` (config.md "POSIX-platform Hooks").

use super::Opt;
use serde::Deserialize;

/// The six lists; unknown names are ignored like any unknown member.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Hooks {
    /// Deprecated: in create, before `createRuntime`.
    #[serde(deserialize_with = "super::object::list")]
    pub prestart: Vec<Hook>,
    /// In create, runtime namespace, before `pivot_root`.
    #[serde(deserialize_with = "super::object::list")]
    pub create_runtime: Vec<Hook>,
    /// In create, container namespace, before `pivot_root`.
    #[serde(deserialize_with = "super::object::list")]
    pub create_container: Vec<Hook>,
    /// In start, container namespace, before the program.
    #[serde(deserialize_with = "super::object::list")]
    pub start_container: Vec<Hook>,
    /// In start, after the program was started.
    #[serde(deserialize_with = "super::object::list")]
    pub poststart: Vec<Hook>,
    /// After deletion.
    #[serde(deserialize_with = "super::object::list")]
    pub poststop: Vec<Hook>,
}

impl Hooks {
    /// The lists with their names, in lifecycle order.
    pub fn lists(&self) -> [(&'static str, &[Hook]); 6] {
        [
            ("prestart", &self.prestart),
            ("createRuntime", &self.create_runtime),
            ("createContainer", &self.create_container),
            ("startContainer", &self.start_container),
            ("poststart", &self.poststart),
            ("poststop", &self.poststop),
        ]
    }
}

/// One hook.
#[derive(Debug, Clone, Deserialize)]
pub struct Hook {
    /// Absolute path of the program; REQUIRED.
    pub path: String,
    /// The whole argument vector, `argv[0]` included. Absent: the path alone.
    #[serde(default)]
    pub args: Opt<Vec<String>>,
    /// The whole environment. Absent: empty (`startContainer`: that of the process).
    #[serde(default)]
    pub env: Opt<Vec<String>>,
    /// Seconds until the hook is aborted; greater than zero.
    #[serde(default)]
    pub timeout: Opt<i64>,
}
