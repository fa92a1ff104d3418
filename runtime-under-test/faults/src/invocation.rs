//! A runc-like command line, taken apart and put together again.
//!
//! `GLOBAL-FLAGS VERB FLAGS ID ARGS`. Flags that take their value from the next word must be known, or
//! the value would be taken for the id; `--flag=value` needs no table. Go-style single dashes are read too.

use std::ffi::OsString;

const GLOBAL_VALUES: &[&str] = &[
    "root",
    "r",
    "log",
    "l",
    "log-format",
    "log-level",
    "criu",
    "rootless",
    "cgroup-manager",
    "debug-log",
    "debug-log-format",
    "platform",
    "network",
    "file-access",
    "overlay2",
    "host-uds",
    "host-fifo",
    "user-log",
];

const VERB_VALUES: &[&str] = &[
    "bundle",
    "b",
    "console-socket",
    "pid-file",
    "pidfd-socket",
    "preserve-fds",
    "config",
    "process",
    "p",
    "user",
    "u",
    "additional-gids",
    "g",
    "env",
    "e",
    "cwd",
    "cap",
    "c",
    "apparmor",
    "process-label",
    "cgroup",
    "resources",
    "interval",
    "format",
    "image-path",
    "work-path",
    "parent-path",
    "criu-root",
    "status-fd",
    "page-server",
    "manage-cgroups-mode",
    "empty-ns",
    "lsm-profile",
    "lsm-mount-context",
    "memory",
    "memory-reservation",
    "memory-swap",
    "kernel-memory",
    "kernel-memory-tcp",
    "cpu-period",
    "cpu-quota",
    "cpu-burst",
    "cpu-share",
    "cpu-shares",
    "cpu-idle",
    "cpu-rt-period",
    "cpu-rt-runtime",
    "cpuset-cpus",
    "cpuset-mems",
    "pids-limit",
    "blkio-weight",
    "l3-cache-schema",
    "mem-bw-schema",
    "internal-pid-file",
    "pid",
    "pass-fd",
    "exec-fd",
    "user-log",
    "shell-completion",
];

/// Flags without a value.
const SWITCHES: &[&str] = &[
    "debug",
    "version",
    "v",
    "help",
    "h",
    "systemd-cgroup",
    "no-pivot",
    "no-new-keyring",
    "no-subreaper",
    "detach",
    "d",
    "tty",
    "t",
    "no-new-privs",
    "ignore-paused",
    "keep",
    "force",
    "f",
    "all",
    "a",
    "regex",
    "r",
    "quiet",
    "q",
    "stats",
    "leave-running",
    "tcp-established",
    "tcp-skip-in-flight",
    "tcp-close",
    "ext-unix-sk",
    "shell-job",
    "lazy-pages",
    "file-locks",
    "pre-dump",
    "auto-dedup",
];

/// A parsed call of the runtime. The words are kept; everything else points into them.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// All words after the program's name.
    pub words: Vec<OsString>,
    verb: Option<usize>,
    flags: Vec<Flag>,
    positional: Vec<usize>,
}

#[derive(Clone, Debug)]
struct Flag {
    name: String,
    at: usize,
    /// The word that holds the value, when it is a word of its own.
    value_at: Option<usize>,
    /// The value, when there is one.
    value: Option<String>,
}

impl Invocation {
    /// Takes `words` apart.
    pub fn parse(words: Vec<OsString>) -> Invocation {
        let mut inv = Invocation { words, verb: None, flags: Vec::new(), positional: Vec::new() };
        let mut at = 0;
        let mut only_positional = false;
        while at < inv.words.len() {
            let word = inv.words[at].to_string_lossy().into_owned();
            if !only_positional && word == "--" {
                only_positional = true;
            } else if !only_positional && word.len() > 1 && word.starts_with('-') && inv.flags_go_on() {
                at = inv.flag(&word, at);
            } else if inv.verb.is_none() {
                inv.verb = Some(at);
            } else {
                inv.positional.push(at);
            }
            at += 1;
        }
        inv
    }

    /// The command of an exec'd program must not be read as flags; it starts after the id.
    fn flags_go_on(&self) -> bool {
        self.positional.is_empty() || !matches!(self.verb(), "exec" | "ps")
    }

    fn flag(&mut self, word: &str, at: usize) -> usize {
        let bare = word.trim_start_matches('-');
        let (name, inline) =
            bare.split_once('=').map_or((bare, None), |(name, value)| (name, Some(value.to_owned())));
        let takes_value = inline.is_none() && self.takes_value(name);
        let value_at = (takes_value && at + 1 < self.words.len()).then_some(at + 1);
        let value = inline.or_else(|| value_at.map(|v| self.words[v].to_string_lossy().into_owned()));
        self.flags.push(Flag { name: name.to_owned(), at, value_at, value });
        value_at.unwrap_or(at)
    }

    fn takes_value(&self, name: &str) -> bool {
        match (self.verb(), name) {
            ("", _) => GLOBAL_VALUES.contains(&name),
            ("delete", "f" | "force") | ("kill" | "delete", "r" | "regex") => false,
            ("list" | "ps" | "create" | "run" | "spec", "f") | ("update", "r") => true,
            (_, name) => VERB_VALUES.contains(&name),
        }
    }

    /// The command, or "version" for `--version`, or "" when there is none.
    pub fn verb(&self) -> &str {
        match self.verb {
            Some(at) => self.words[at].to_str().unwrap_or_default(),
            None if self.flags.iter().any(|f| f.name == "version" || f.name == "v") => "version",
            None => "",
        }
    }

    /// The container id, when there is one.
    pub fn id(&self) -> Option<String> {
        if matches!(self.verb(), "list" | "features" | "spec" | "version" | "") {
            return None;
        }
        self.positional.first().map(|at| self.words[*at].to_string_lossy().into_owned())
    }

    /// Positional argument `n`; 0 is the id.
    pub fn argument(&self, n: usize) -> Option<String> {
        self.positional.get(n).map(|at| self.words[*at].to_string_lossy().into_owned())
    }

    /// The value of the last flag called any of `names`.
    pub fn value(&self, names: &[&str]) -> Option<&str> {
        self.flags.iter().rev().filter(|f| names.contains(&f.name.as_str())).find_map(|f| f.value.as_deref())
    }

    /// Whether a flag is given.
    pub fn has(&self, name: &str) -> bool {
        let name = name.trim_start_matches('-');
        self.flags.iter().any(|f| f.name == name)
    }

    /// Whether some flag is none that runtimes are known to have.
    pub fn has_odd_flag(&self) -> bool {
        let known = [GLOBAL_VALUES, VERB_VALUES, SWITCHES];
        self.flags.iter().any(|f| !known.iter().any(|k| k.contains(&f.name.as_str())))
    }

    /// The global flags and what comes before the command, for further calls with the same settings.
    pub fn globals(&self) -> &[OsString] {
        &self.words[..self.verb.unwrap_or(self.words.len())]
    }

    /// Inserts words right after the command.
    pub fn insert(&mut self, new: &[String]) {
        let at = self.verb.map_or(self.words.len(), |v| v + 1);
        self.words.splice(at..at, new.iter().map(OsString::from));
        self.reparse();
    }

    /// Removes a flag and its value, wherever it occurs after the command.
    pub fn remove(&mut self, name: &str) {
        let name = name.trim_start_matches('-');
        let mut doomed: Vec<usize> = self
            .flags
            .iter()
            .filter(|f| f.name == name && Some(f.at) > self.verb)
            .flat_map(|f| std::iter::once(f.at).chain(f.value_at))
            .collect();
        doomed.sort_unstable();
        for at in doomed.into_iter().rev() {
            self.words.remove(at);
        }
        self.reparse();
    }

    /// Gives a flag that is there another value.
    pub fn set_value(&mut self, name: &str, value: &str) {
        let name = name.trim_start_matches('-');
        for flag in self.flags.iter().filter(|f| f.name == name) {
            match flag.value_at {
                Some(at) => self.words[at] = OsString::from(value),
                None if flag.value.is_some() => {
                    let dashes = if flag.name.len() == 1 { "-" } else { "--" };
                    self.words[flag.at] = OsString::from(format!("{dashes}{name}={value}"));
                }
                None => {}
            }
        }
        self.reparse();
    }

    /// Replaces positional argument `n`, or adds it behind the last one.
    pub fn set_argument(&mut self, n: usize, value: &str) {
        match self.positional.get(n) {
            Some(at) => self.words[*at] = OsString::from(value),
            None => self.words.push(OsString::from(value)),
        }
        self.reparse();
    }

    fn reparse(&mut self) {
        *self = Invocation::parse(std::mem::take(&mut self.words));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Invocation {
        Invocation::parse(line.split_whitespace().map(OsString::from).collect())
    }

    fn text(inv: &Invocation) -> String {
        inv.words.iter().map(|w| w.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn calls_of_known_callers_are_understood() {
        for (line, verb, id) in [
            (
                "--root /r --log /l --log-format json create --bundle /b --pid-file /p c1",
                "create",
                Some("c1"),
            ),
            ("--root=/r create -b /b --console-socket=/s c1", "create", Some("c1")),
            ("--systemd-cgroup start c1", "start", Some("c1")),
            ("kill --all c1 9", "kill", Some("c1")),
            ("kill c1 -9", "kill", Some("c1")),
            ("delete -f c1", "delete", Some("c1")),
            ("exec --process /p --detach --pid-file /q c1", "exec", Some("c1")),
            ("exec -e A=B c1 sh -c true", "exec", Some("c1")),
            ("list -f json", "list", None),
            ("ps -f json c1", "ps", Some("c1")),
            ("update -r - c1", "update", Some("c1")),
            ("-root /r -platform=systrap state c1", "state", Some("c1")),
            ("--version", "version", None),
            ("create --bundle /b", "create", None),
            ("", "", None),
        ] {
            let inv = parse(line);
            assert_eq!((inv.verb(), inv.id().as_deref()), (verb, id), "{line}");
        }
        assert_eq!(parse("--root /a state --root /b c").value(&["root"]), Some("/a"));
    }

    #[test]
    fn arguments_are_edited_in_place() {
        let mut inv = parse("--root /r exec --cwd /x -e A=B c1 prog --cwd y");
        inv.remove("--cwd");
        assert_eq!(text(&inv), "--root /r exec -e A=B c1 prog --cwd y");
        inv.insert(&["--tty".to_owned()]);
        assert_eq!(text(&inv), "--root /r exec --tty -e A=B c1 prog --cwd y");
        let mut inv = parse("kill c1");
        inv.set_argument(1, "KILL");
        assert_eq!(text(&inv), "kill c1 KILL");
        let mut inv = parse("create --bundle=/x -b /y c");
        inv.set_value("bundle", "/z");
        inv.set_value("b", "/z");
        assert_eq!(text(&inv), "create --bundle=/z -b /z c");
    }
}
