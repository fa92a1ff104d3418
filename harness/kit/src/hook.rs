//! Hooks as observable scripts: the probe, started as a hook, writes its answers to a file that the host reads.

use crate::probe::Script;
use serde_json::{Value, json};

/// The six kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HookKind {
    /// Deprecated; inside create, in the runtime namespace.
    Prestart,
    /// Inside create, in the runtime namespace.
    CreateRuntime,
    /// Inside create, in the container namespace.
    CreateContainer,
    /// Inside start, in the container namespace.
    StartContainer,
    /// After the program was started, in the runtime namespace.
    Poststart,
    /// After the container was deleted, in the runtime namespace.
    Poststop,
}

impl HookKind {
    /// All six, in the order of a container's life.
    pub const ALL: [Self; 6] = [
        Self::Prestart,
        Self::CreateRuntime,
        Self::CreateContainer,
        Self::StartContainer,
        Self::Poststart,
        Self::Poststop,
    ];

    /// The member of `hooks`.
    pub fn key(self) -> &'static str {
        match self {
            Self::Prestart => "prestart",
            Self::CreateRuntime => "createRuntime",
            Self::CreateContainer => "createContainer",
            Self::StartContainer => "startContainer",
            Self::Poststart => "poststart",
            Self::Poststop => "poststop",
        }
    }

    /// The kind of this key.
    pub fn from_key(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.key() == key)
    }

    /// Whether the hook's path resolves inside the container (config.md, startContainer).
    pub fn resolves_in_container(self) -> bool {
        self == Self::StartContainer
    }
}

/// A hook to be put into a configuration. It first records its standard input, then runs its script.
#[derive(Debug, Clone)]
pub struct Hook {
    pub(crate) kind: HookKind,
    pub(crate) name: String,
    pub(crate) script: Script,
    pub(crate) extra: Value,
}

/// Where the shared directory is mounted inside a container with hooks.
pub(crate) const SHARED_INSIDE: &str = "/plimsoll-shared";

impl Hook {
    /// A hook that records that it ran, and its standard input.
    pub fn new(kind: HookKind) -> Self {
        let script = Script::default().ask("stdin");
        Self { kind, name: kind.key().to_owned(), script, extra: json!({}) }
    }

    /// Its kind.
    pub fn kind(&self) -> HookKind {
        self.kind
    }

    /// Gives it a name of its own, for when several hooks of one kind stand in a list.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Asks these questions as well.
    #[must_use]
    pub fn asks<'a>(mut self, questions: impl IntoIterator<Item = &'a str>) -> Self {
        self.script = questions.into_iter().fold(self.script, Script::ask);
        self
    }

    /// Changes its script.
    #[must_use]
    pub fn then(mut self, change: impl FnOnce(Script) -> Script) -> Self {
        self.script = change(self.script);
        self
    }

    /// Ends with this status.
    #[must_use]
    pub fn exits(self, code: u8) -> Self {
        self.then(|s| s.exit(code))
    }

    /// Adds or replaces members of the hook's entry: `env`, `timeout`, `args`, `path`.
    #[must_use]
    pub fn with(mut self, key: &str, value: Value) -> Self {
        self.extra[key] = value;
        self
    }

    /// The entry for the configuration. `host_probe` and `host_shared` are the probe's and the shared directory's
    /// paths on the host.
    pub(crate) fn entry(&self, nonce: &str, host_probe: &str, host_shared: &str) -> Value {
        let inside = self.kind.resolves_in_container();
        let (probe, shared) = if inside { ("/probe", SHARED_INSIDE) } else { (host_probe, host_shared) };
        let script = self.script.text(&self.nonce(nonce), Some(&format!("{shared}/{HOOK_LOG}")));
        let mut entry = json!({ "path": probe, "args": ["hook", script] });
        if let (Value::Object(entry), Value::Object(extra)) = (&mut entry, &self.extra) {
            for (key, value) in extra {
                if value.is_null() {
                    entry.shift_remove(key);
                } else {
                    entry.insert(key.clone(), value.clone());
                }
            }
        }
        entry
    }

    /// The nonce of this hook's answers.
    pub(crate) fn nonce(&self, nonce: &str) -> String {
        format!("{nonce}-hook-{}", self.name)
    }
}

/// The file in the shared directory that takes all hooks' answers, in the order in which they were written.
pub(crate) const HOOK_LOG: &str = "hooks.jsonl";
