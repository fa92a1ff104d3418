//! What a fault does, as data: conditions and actions. The text form is parsed by [`crate::grammar`].

use crate::json::edit::Edit;
use crate::json::path::Path;

/// One step of a fault: an action that applies when all conditions hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Conditions, judged before the runtime is called.
    pub when: Vec<Cond>,
    /// What happens then.
    pub action: Action,
}

/// Which commands of the runtime an action concerns.
#[derive(Clone, Debug, PartialEq)]
pub struct Verbs(pub Vec<String>);

impl Verbs {
    /// Whether `verb` is one of them; `*` means any.
    pub fn has(&self, verb: &str) -> bool {
        self.0.iter().any(|v| v == "*" || v == verb)
    }
}

/// A condition on the call, the bundle or the container.
#[derive(Clone, Debug, PartialEq)]
pub enum Cond {
    /// `config PATH`: the bundle's configuration has such a place.
    Config(Path),
    /// `no-config PATH`: it is readable and has no such place.
    NoConfig(Path),
    /// `missing NAME`: the bundle directory exists and lacks the file.
    Missing(String),
    /// `misnamed NAME`: it has the file in another letter case only.
    Misnamed(String),
    /// `no-bundle`: the bundle directory does not exist, or no bundle was named and none is here.
    NoBundle,
    /// `no-id`: no container id, or an empty one.
    NoId,
    /// `bad-id`: the id holds what no id may.
    BadId,
    /// `known`: the target knows the container.
    Known,
    /// `unknown`: it does not.
    Unknown,
    /// `status S`: the container's status is S.
    Status(String),
    /// `not-status S`: the container is known and its status is not S.
    NotStatus(String),
    /// `every N`: true for one in N container ids, the same ones each time.
    Every(u64),
    /// `no-rootfs`: `root.path` is not a directory.
    NoRootfs,
    /// `flag F`: the call has the flag.
    Flag(String),
    /// `no-flag F`: it has not.
    NoFlag(String),
    /// `marked M`: an earlier call left the mark for this container.
    Marked(String),
    /// `unclean`: config.json is not clean UTF-8 JSON without repeated names.
    Unclean,
    /// `cgroup-exists`: the configured cgroup is there before create.
    CgroupExists,
    /// `order A B`: member A comes before member B in the text of the configuration.
    Order(String, String),
    /// `arg N`: there is a positional argument after the id at place N (from 1).
    Arg(usize),
    /// `no-arg N`: there is none.
    NoArg(usize),
    /// `arg-like N TEXT`: the argument at place N starts with TEXT.
    ArgLike(usize, String),
    /// `flag-like F TEXT`: flag F is given a value that starts with TEXT.
    FlagLike(String, String),
    /// `flag-unlike F TEXT`: flag F is given a value that does not start with TEXT.
    FlagUnlike(String, String),
    /// `odd-verb`: the command is none that runtimes have.
    OddVerb,
    /// `odd-flag`: some flag is none that runtimes have.
    OddFlag,
    /// `no-containers`: there is nothing below the root directory.
    NoContainers,
    /// `linked PATH`: PATH below the container's root is a symbolic link.
    Linked(String),
}

/// Whether an after-effect depends on the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// Whatever the result.
    Any,
    /// Only when the runtime succeeded.
    Ok,
    /// Only when the runtime failed.
    Failed,
    /// Only when the runtime was called again after a failure.
    Retried,
    /// Only when an interposed hook failed.
    HookFailed,
}

/// How a call ended.
#[derive(Clone, Copy, Debug)]
pub struct Ending {
    /// The runtime's exit status.
    pub code: u8,
    /// Whether it was called again after a failure.
    pub retried: bool,
    /// Whether an interposed hook failed.
    pub hook_failed: bool,
}

impl On {
    /// Whether it applies to a call that ended so.
    pub fn applies(self, ending: Ending) -> bool {
        match self {
            On::Any => true,
            On::Ok => ending.code == 0,
            On::Failed => ending.code != 0,
            On::Retried => ending.retried,
            On::HookFailed => ending.hook_failed,
        }
    }
}

/// What is left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeakKind {
    /// A process in its own session, gone after a bounded time.
    Process,
    /// As `Process`, holding the caller's stdout open.
    Pipe,
    /// A tmpfs mounted below the runtime's root directory.
    Mount,
    /// An empty cgroup beside the container's.
    Cgroup,
    /// A file below the runtime's root directory.
    File,
    /// A pinned network namespace.
    Netns,
    /// A process with many open descriptors.
    Fd,
}

/// A change to one file.
#[derive(Clone, Debug, PartialEq)]
pub enum FileOp {
    /// `unlink PATH`
    Unlink(String),
    /// `rmdir PATH`
    Rmdir(String),
    /// `mkdir PATH`
    Mkdir(String),
    /// `symlink TARGET PATH` (replaces what is there)
    Symlink(String, String),
    /// `write PATH TEXT` (creates or truncates)
    Write(String, String),
    /// `chmod OCTAL PATH`
    Chmod(u32, String),
    /// `chown UID GID PATH`
    Chown(u32, u32, String),
    /// `null PATH`: a character device 1:3 in place of what is there.
    Null(String),
}

impl FileOp {
    /// The texts in which variables may stand.
    pub fn paths(&self) -> Vec<&str> {
        match self {
            Self::Unlink(p)
            | Self::Rmdir(p)
            | Self::Mkdir(p)
            | Self::Null(p)
            | Self::Chmod(_, p)
            | Self::Chown(_, _, p) => vec![p],
            Self::Symlink(a, b) | Self::Write(a, b) => vec![a, b],
        }
    }
}

/// A change to the runtime's arguments.
#[derive(Clone, Debug, PartialEq)]
pub enum ArgEdit {
    /// `add ARG...`: right after the command.
    Add(Vec<String>),
    /// `drop FLAG`: the flag and its value.
    Drop(String),
    /// `value FLAG VALUE`: another value, when the flag is there.
    Value(String, String),
    /// `signal S`: the signal argument of kill, replaced or added.
    Signal(String),
    /// `sanitize-id`: an invalid id becomes a valid one.
    SanitizeId,
    /// `find-bundle`: looks for config.json in the working directory and one level down.
    FindBundle,
    /// `id TEXT`: another id.
    Id(String),
    /// `caller-env`: this process's environment, variable by variable, as `--env` flags.
    CallerEnv,
}

/// What an interposed hook does before, instead of or after the real one.
#[derive(Clone, Debug, PartialEq)]
pub enum HookOp {
    /// `ignore-exit`: a failing hook succeeds.
    IgnoreExit,
    /// `no-stdin`: the hook gets nothing on stdin.
    NoStdin,
    /// `cut-stdin`: the hook gets half of the state.
    CutStdin,
    /// `state EDIT`: the hook gets an altered state. The text is kept to be handed on.
    State(Edit, String),
    /// `unshare`: the hook runs in namespaces of nobody else.
    Unshare,
    /// `delay MS`
    Delay(u64),
    /// `abort`: a failing hook takes the runtime down with it.
    Abort,
    /// `skip-after-failure`: hooks after a failing one are skipped.
    SkipAfterFailure,
    /// `twice`: the hook runs twice.
    Twice,
    /// `background`: the hook runs on after the runtime was told that it ended.
    Background,
    /// `setenv NAME=VALUE`
    SetEnv(String),
    /// `clear-env`
    ClearEnv,
}

/// How the runtime's messages are spoiled.
#[derive(Clone, Debug, PartialEq)]
pub enum Noise {
    /// `flood BYTES`: that much text on stderr.
    Flood(u64),
    /// `hostile`: escapes, NUL, invalid UTF-8 and markup on stderr.
    Hostile,
    /// `hush`: the runtime's own stderr and log are thrown away.
    Hush,
}

/// A benchmark injection; amounts are checked when the id is parsed.
#[derive(Clone, Debug, PartialEq)]
pub enum Bench {
    /// Spins for this percentage of the call's own time.
    CpuBurn(f64),
    /// With the first percentage, the call takes the second number times as long.
    Tail(f64, f64),
    /// Calls that change containers wait for each other.
    GlobalLock,
    /// Each call works once per container below the root directory.
    Scan,
    /// This percentage of calls fails.
    Fail(f64),
    /// Touches this many fresh pages.
    MinorFaults(u64),
}

/// What happens.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// `config EDIT`: the runtime sees an edited config.json (create, run).
    Config(Edit),
    /// `clean-config`: unclean JSON text becomes clean (create, run).
    CleanConfig,
    /// `process EDIT`: the runtime sees an edited `exec --process` file.
    Process(Edit),
    /// `resources EDIT`: the runtime sees edited `update --resources`.
    Resources(Edit),
    /// `output VERBS EDIT`: JSON on stdout is edited.
    Output(Verbs, Edit),
    /// `print VERBS TEXT`: stdout is replaced.
    Print(Verbs, String),
    /// `cut VERBS N`: only the first N bytes of stdout.
    Cut(Verbs, usize),
    /// `argv VERBS ARGEDIT`
    Argv(Verbs, ArgEdit),
    /// `skip VERBS`: nothing is done, and that succeeds.
    Skip(Verbs),
    /// `fail VERBS CODE MESSAGE`: nothing is done, and that fails.
    Fail(Verbs, u8, String),
    /// `exit VERBS CODE [if ok|failed]`
    Exit(Verbs, u8, On),
    /// `before VERBS ARG...`: the runtime is called with these first.
    Before(Verbs, Vec<String>),
    /// `after VERBS ARG... [if ok|failed]`: the runtime is called with these afterwards.
    After(Verbs, Vec<String>, On),
    /// `retry EDIT`: after a failed create, another one with the edited configuration.
    Retry(Edit),
    /// `sleep VERBS MS`: before the call.
    Sleep(Verbs, u64),
    /// `linger VERBS MS`: after the call.
    Linger(Verbs, u64),
    /// `hang VERBS`: ignores SIGTERM and does not return (bounded to ten minutes).
    Hang(Verbs),
    /// `leak VERBS KIND [if ok|failed]`
    Leak(Verbs, LeakKind, On),
    /// `guest VERBS FILEOP`: in the container's root, afterwards.
    Guest(Verbs, FileOp),
    /// `host VERBS FILEOP [if ok|failed]`: on the host, afterwards.
    Host(Verbs, FileOp, On),
    /// `cgroup VERBS FILE VALUE`: written to the container's cgroup, afterwards.
    Cgroup(Verbs, String, String),
    /// `escape VERBS`: the exec'd process leaves the container's cgroup, afterwards.
    Escape(Verbs),
    /// `proc VERBS FILE VALUE`: written below /proc/PID of the container, afterwards.
    Proc(Verbs, String, String),
    /// `hook KINDS HOOKOP`
    Hook(Verbs, HookOp),
    /// `notify NOTIFYOP`: what the seccomp agent is sent.
    Notify(crate::notify::NotifyOp),
    /// `recreate`: start makes the container anew from today's config.json.
    Recreate,
    /// `noise VERBS NOISE`
    Noise(Verbs, Noise),
    /// `fds VERBS N [PATH]`: N descriptors of PATH (of `/` without one) are passed on.
    Fds(Verbs, usize, String),
    /// `deaf VERBS`: the runtime gets nothing on stdin.
    Deaf(Verbs),
    /// `reap VERBS MS`: orphans of the call's processes that end within MS milliseconds never reach the caller.
    Reap(Verbs, u64),
    /// `outside VERBS`: the program of exec runs in the container's root directory and in nothing else of it.
    Outside(Verbs),
    /// `follow-links VERBS`: mount points are made with the host's reading of symbolic links, before the call.
    FollowLinks(Verbs),
    /// `mark VERBS NAME` (after success), remembered until delete.
    Mark(Verbs, String),
    /// `unmark VERBS NAME` (after success).
    Unmark(Verbs, String),
    /// A benchmark injection.
    Bench(Bench),
    /// `inside:NAME`: a fault point of the reference runtime built with its feature `faults`.
    Inside(String),
    /// `proxy RPCS OPERATION`: a fault of the CRI proxy, see [`crate::cri::script`].
    Proxy(Box<crate::cri::script::Step>),
}
