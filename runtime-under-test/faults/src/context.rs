//! What a fault can know about a call: the bundle, the configuration, the container's state.
//! Everything is looked up on first use, because most faults need little of it.

use std::cell::OnceCell;
use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::grammar::VERBS;
use crate::invocation::Invocation;
use crate::json::edit::Vars;
use crate::json::strict;
use crate::memory::{Memory, fnv};
use crate::step::Cond;
use crate::target::Target;

/// Most bytes of a configuration that are read.
const CONFIG_LIMIT: u64 = 16 << 20;

/// The facts of one call.
pub struct Context<'a> {
    /// The call as the caller made it.
    pub inv: &'a Invocation,
    target: &'a Target,
    bundle: OnceCell<Option<PathBuf>>,
    config: OnceCell<Option<Vec<u8>>>,
    parsed: OnceCell<Option<Value>>,
    state: OnceCell<Option<Value>>,
}

impl<'a> Context<'a> {
    /// Facts about `inv`.
    pub fn new(inv: &'a Invocation, target: &'a Target) -> Context<'a> {
        Context {
            inv,
            target,
            bundle: OnceCell::new(),
            config: OnceCell::new(),
            parsed: OnceCell::new(),
            state: OnceCell::new(),
        }
    }

    /// The runtime's root directory for state.
    pub fn root(&self) -> PathBuf {
        self.inv.value(&["root", "r"]).map_or_else(|| PathBuf::from("/run/runc"), PathBuf::from)
    }

    /// The container id, when the call has one.
    pub fn id(&self) -> Option<String> {
        self.inv.id()
    }

    /// What is remembered about this container.
    pub fn memory(&self) -> Memory {
        Memory::new(&self.root(), &self.id().unwrap_or_default())
    }

    /// The bundle directory, absolute: from the flags, the working directory or the container's state.
    pub fn bundle(&self) -> Option<&Path> {
        let find = || {
            let named = match self.inv.verb() {
                "create" | "run" | "restore" => {
                    Some(self.inv.value(&["bundle", "b"]).map_or_else(|| PathBuf::from("."), PathBuf::from))
                }
                _ => self.state()?.get("bundle")?.as_str().map(PathBuf::from),
            };
            named.and_then(|p| std::path::absolute(p).ok())
        };
        self.bundle.get_or_init(find).as_deref()
    }

    /// Where the configuration is.
    pub fn config_path(&self) -> Option<PathBuf> {
        if self.inv.verb() == "create" || self.inv.verb() == "run" {
            // crun: create --config FILE
            if let Some(file) = self.inv.value(&["config", "f"]) {
                return std::path::absolute(file).ok();
            }
        }
        self.bundle().map(|b| b.join("config.json"))
    }

    /// The text of the configuration.
    pub fn config_text(&self) -> Option<&[u8]> {
        let read = || {
            let mut text = Vec::new();
            let file = fs::File::open(self.config_path()?).ok()?;
            file.take(CONFIG_LIMIT).read_to_end(&mut text).ok()?;
            Some(text)
        };
        self.config.get_or_init(read).as_deref()
    }

    /// The configuration, when it is clean JSON.
    pub fn config(&self) -> Option<&Value> {
        self.parsed.get_or_init(|| self.config_text().and_then(strict::parse)).as_ref()
    }

    /// The container's root directory on the host.
    pub fn rootfs(&self) -> Option<PathBuf> {
        let path = self.config()?.get("root")?.get("path")?.as_str()?;
        Some(self.bundle()?.join(path))
    }

    /// The container's state as the runtime tells it, asked once.
    pub fn state(&self) -> Option<&Value> {
        self.state.get_or_init(|| self.fresh_state()).as_ref()
    }

    /// The container's state as the runtime tells it now.
    pub fn fresh_state(&self) -> Option<Value> {
        let id = self.id().filter(|id| !id.is_empty())?;
        let output = self.target.call(&self.call_words(&["state", &id])).ok()?;
        if output.code == 0 { serde_json::from_slice(&output.stdout).ok() } else { None }
    }

    /// The caller's global flags followed by `words`, with variables expanded.
    pub fn call_words(&self, words: &[&str]) -> Vec<OsString> {
        let expand = |w: &&str| OsString::from(crate::json::edit::expand(w, self));
        self.inv.globals().iter().cloned().chain(words.iter().map(expand)).collect()
    }

    /// The pid of the container's first process, when it has one now.
    pub fn pid(&self) -> Option<u32> {
        let state = self.fresh_state()?;
        let pid = u32::try_from(state.get("pid")?.as_u64()?).ok()?;
        (pid > 0).then_some(pid)
    }

    fn status(&self) -> Option<&str> {
        self.state()?.get("status")?.as_str()
    }

    /// Whether a condition holds.
    pub fn holds(&self, cond: &Cond) -> bool {
        let bundle_entry =
            |test: &dyn Fn(&Path) -> bool| self.bundle().is_some_and(|b| b.is_dir() && test(b));
        match cond {
            Cond::Config(path) => self.config().is_some_and(|c| path.count(c) > 0),
            Cond::NoConfig(path) => self.config().is_some_and(|c| path.count(c) == 0),
            Cond::Missing(name) => bundle_entry(&|b| !b.join(name).exists()),
            Cond::Misnamed(name) => bundle_entry(&|b| !b.join(name).exists() && has_ignoring_case(b, name)),
            Cond::NoBundle => {
                let named = self.inv.value(&["bundle", "b"]).is_some();
                self.bundle().is_none_or(|b| !b.is_dir() || (!named && !b.join("config.json").exists()))
            }
            Cond::NoId => self.id().is_none_or(|id| id.is_empty()),
            Cond::BadId => self.id().is_some_and(|id| !id.is_empty() && !id_is_valid(&id)),
            Cond::Known => self.state().is_some(),
            Cond::Unknown => self.id().is_some_and(|id| !id.is_empty()) && self.state().is_none(),
            Cond::Status(want) => self.status() == Some(want),
            Cond::NotStatus(other) => self.status().is_some_and(|s| s != other),
            Cond::Every(n) => self.chance().is_multiple_of(*n),
            Cond::NoRootfs => self.rootfs().is_some_and(|r| !r.is_dir()),
            Cond::Flag(flag) => self.inv.has(flag),
            Cond::NoFlag(flag) => !self.inv.has(flag),
            Cond::Marked(name) => self.memory().has(name),
            Cond::Unclean => self.config_text().is_some_and(|t| strict::parse(t).is_none()),
            Cond::CgroupExists => self.cgroup_exists(),
            Cond::Order(earlier, later) => {
                let names = self.config_text().map(strict::member_names).unwrap_or_default();
                let place = |name: &String| names.iter().position(|n| n == name);
                place(earlier).zip(place(later)).is_some_and(|(a, b)| a < b)
            }
            Cond::Arg(n) => self.inv.argument(*n).is_some(),
            Cond::NoArg(n) => self.inv.argument(*n).is_none(),
            Cond::ArgLike(n, text) => self.inv.argument(*n).is_some_and(|a| a.starts_with(text)),
            Cond::FlagLike(flag, text) => self.inv.value(&[flag]).is_some_and(|v| v.starts_with(text)),
            Cond::FlagUnlike(flag, text) => self.inv.value(&[flag]).is_some_and(|v| !v.starts_with(text)),
            Cond::OddVerb => !self.inv.verb().is_empty() && !VERBS.contains(&self.inv.verb()),
            Cond::OddFlag => self.inv.has_odd_flag(),
            Cond::NoContainers => fs::read_dir(self.root()).map_or(true, |d| d.flatten().next().is_none()),
            Cond::Linked(path) => self.rootfs().is_some_and(|r| r.join(path).is_symlink()),
        }
    }

    /// A number that is the same for each call on this container, and spread evenly over containers.
    fn chance(&self) -> u64 {
        let seed = std::env::var("PLIMSOLL_FAULT_SEED").unwrap_or_default();
        fnv(format!("{seed}/{}", self.id().unwrap_or_default()).as_bytes()) >> 16
    }

    /// The source of the last bind mount.
    fn mount_source(&self) -> Option<String> {
        let mounts = self.config()?.get("mounts")?.as_array()?;
        let bind = |m: &&Value| m["type"] == "bind" || m["options"].to_string().contains("bind\"");
        mounts.iter().rev().find(bind)?.get("source")?.as_str().map(str::to_owned)
    }

    fn cgroup_exists(&self) -> bool {
        let path = self.config().and_then(|c| c.get("linux")?.get("cgroupsPath")?.as_str());
        let Some(path) = path.map(|p| p.trim_start_matches('/')).filter(|p| !p.is_empty()) else {
            return false;
        };
        let Ok(hierarchies) = fs::read_dir("/sys/fs/cgroup") else { return false };
        let in_v1 = hierarchies.flatten().any(|h| h.path().join(path).is_dir());
        in_v1 || Path::new("/sys/fs/cgroup").join(path).is_dir()
    }
}

fn has_ignoring_case(dir: &Path, name: &str) -> bool {
    fs::read_dir(dir).is_ok_and(|entries| {
        entries.flatten().any(|e| e.file_name().to_string_lossy().eq_ignore_ascii_case(name))
    })
}

/// Whether an id is one that every runtime takes: letters, digits, `_`, `+`, `-`, `.`, not `.` or `..`.
pub fn id_is_valid(id: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'+' | b'-' | b'.');
    !id.is_empty()
        && id.len() <= 1024
        && id != "."
        && id != ".."
        && !id.starts_with('-')
        && id.bytes().all(allowed)
}

impl Vars for Context<'_> {
    fn get(&self, name: &str) -> Option<String> {
        let text = |p: &Path| p.to_string_lossy().into_owned();
        match name {
            "id" => self.id(),
            "root" => Some(text(&self.root())),
            "bundle" => self.bundle().map(text),
            "rootfs" => self.rootfs().map(|r| text(&r)),
            "pid" => self.state()?.get("pid")?.as_u64().map(|p| p.to_string()),
            "pid-file" => self.inv.value(&["pid-file"]).map(str::to_owned),
            "cgroups-path" => self.config()?.pointer("/linux/cgroupsPath")?.as_str().map(str::to_owned),
            "mount-source" => self.mount_source(),
            "cwd" => self.config()?.get("process")?.get("cwd")?.as_str().map(str::to_owned),
            "target" => Some(text(&self.target.program)),
            "wrapper-pid" => Some(std::process::id().to_string()),
            "now" => Some(nanos().to_string()),
            "random" => Some(format!("{:x}", fnv(&nanos().to_le_bytes()))),
            _ => None,
        }
    }
}

fn nanos() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_judged() {
        for good in ["a", "c1", "a.b_c+d-e", "..."] {
            assert!(id_is_valid(good), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "../x", "a b", "-x", "a\nb", &"x".repeat(1025)] {
            assert!(!id_is_valid(bad), "{bad:?}");
        }
    }

    #[test]
    fn conditions_look_at_the_bundle() {
        let dir = tempfile::tempdir().unwrap();
        let target = Target { program: "/bin/false".into(), args: vec![] };
        let words = ["create", "--bundle", dir.path().to_str().unwrap(), "c1"].map(OsString::from).to_vec();
        let inv = Invocation::parse(words);
        let holds = |cond: &str| {
            let steps = crate::grammar::parse(&format!("when {cond} => skip create")).unwrap();
            Context::new(&inv, &target).holds(&steps[0].when[0])
        };
        assert!(holds("missing config.json") && !holds("misnamed config.json") && !holds("no-bundle"));
        fs::write(dir.path().join("Config.JSON"), "{}").unwrap();
        assert!(holds("misnamed config.json"));
        fs::write(dir.path().join("config.json"), r#"{"root":{"path":"nowhere"},"root2":1}"#).unwrap();
        assert!(!holds("missing config.json") && !holds("misnamed config.json"));
        assert!(
            holds("config /root") && holds("no-config /process") && holds("no-rootfs") && !holds("unclean")
        );
        fs::write(dir.path().join("config.json"), r#"{"a":1,"a":1}"#).unwrap();
        assert!(holds("unclean"));
        assert!(holds("unknown") && !holds("known") && !holds("no-id") && !holds("bad-id"));
    }
}
