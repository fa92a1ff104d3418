//! The roles in which this program is started by itself: carrier, interposed hook, leaked process.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::fs::{MemfdFlags, memfd_create};

use crate::carrier::{self, Override};
use crate::carrier_home::Home;
use crate::error::Trouble;
use crate::json::edit::NoVars;
use crate::notify;
use crate::step::HookOp;
use crate::sys;
use crate::target::exit_code;

/// Most of a container's state that a hook is given.
const STATE_LIMIT: u64 = 1 << 20;

/// Longest life of a leaked process.
const LONGEST_SLEEP: u64 = 600;

/// Runs the helper that `words` name, if they name one.
pub fn run(words: &[OsString]) -> Option<Result<u8, Trouble>> {
    let text = |at: usize| words.get(at).map(|w| w.to_string_lossy().into_owned()).unwrap_or_default();
    let number = |at: usize| text(at).parse::<u64>().unwrap_or(1);
    match words.first()?.to_str()? {
        "__carry" => Some(carry(&words[1..])),
        "__hook" => Some(hook(&words[1..])),
        "__sleep" => Some(Ok(sleep(number(1)))),
        "__fds" => {
            let held: Vec<File> = (0..number(1)).filter_map(|_| File::open("/dev/null").ok()).collect();
            let result = sleep(number(2));
            drop(held);
            Some(Ok(result))
        }
        "__notify" => Some(notify::serve(Path::new(&text(1)), Path::new(&text(2)), &text(3))),
        "__netns" => Some(pin_netns(&text(1))),
        _ => None,
    }
}

fn sleep(seconds: u64) -> u8 {
    // Its own session: the caller's group or terminal must not take it down.
    let _ = rustix::process::setsid();
    std::thread::sleep(Duration::from_secs(seconds.min(LONGEST_SLEEP)));
    0
}

fn pin_netns(pin: &str) -> Result<u8, Trouble> {
    sys::unshare_network().map_err(|e| Trouble::io("make a network namespace", e))?;
    rustix::mount::mount_bind("/proc/self/ns/net", pin)
        .map_err(|e| Trouble::io("pin a network namespace", e.into()))?;
    Ok(0)
}

/// `PATH TEXT... -- PROGRAM ARGS`: shows the overrides and becomes the program.
fn carry(words: &[OsString]) -> Result<u8, Trouble> {
    let split = words.iter().position(|w| w == "--").unwrap_or(words.len());
    let overrides: Vec<Override> = words[..split]
        .chunks_exact(2)
        .map(|pair| Override { path: PathBuf::from(&pair[0]), text: PathBuf::from(&pair[1]) })
        .collect();
    carrier::show(&overrides)?;
    let program = words.get(split + 1).ok_or_else(|| Trouble::Usage("nothing to carry".to_owned()))?;
    let source = Command::new(program).args(&words[split + 2..]).exec();
    Err(Trouble::Target { program: PathBuf::from(program), source })
}

struct HookCall {
    at: usize,
    marks: PathBuf,
    home: Option<Home>,
    ops: Vec<HookOp>,
    argv: Vec<OsString>,
}

impl HookCall {
    fn parse(words: &[OsString]) -> Result<HookCall, Trouble> {
        let split = words.iter().position(|w| w == "--").unwrap_or(words.len());
        let mut call = HookCall {
            at: 0,
            marks: PathBuf::new(),
            home: None,
            ops: Vec::new(),
            argv: words[split + 1..].to_vec(),
        };
        for word in &words[..split] {
            let word = word.to_string_lossy();
            let (flag, value) = word.split_once('=').unwrap_or((&word, ""));
            match flag {
                "--at" => call.at = value.parse().unwrap_or(0),
                "--marks" => call.marks = PathBuf::from(value),
                "--home" => call.home = Home::from_text(value),
                "--op" => call.ops.push(crate::grammar::hook_op(value).map_err(Trouble::Usage)?),
                other => return Err(Trouble::Usage(format!("unknown hook flag {other:?}"))),
            }
        }
        if call.argv.len() < 2 { Err(Trouble::Usage("a hook needs a program".to_owned())) } else { Ok(call) }
    }

    fn has(&self, op: &HookOp) -> bool {
        self.ops.contains(op)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.argv[0]);
        command.arg0(&self.argv[1]).args(&self.argv[2..]);
        if self.has(&HookOp::ClearEnv) {
            command.env_clear();
        }
        for op in &self.ops {
            if let HookOp::SetEnv(pair) = op
                && let Some((name, value)) = pair.split_once('=')
            {
                command.env(name, value);
            }
        }
        command
    }
}

/// Alters what the fault says and becomes the real hook, or watches it when its end matters.
fn hook(words: &[OsString]) -> Result<u8, Trouble> {
    let call = HookCall::parse(words)?;
    if let Some(namespace) = call.home.as_ref().and_then(Home::namespace) {
        go_home(&namespace)?;
    }
    if call.has(&HookOp::SkipAfterFailure) {
        if call.at == 0 {
            let _ = fs::remove_file(&call.marks);
        } else if call.marks.exists() {
            return Ok(0);
        }
    }
    for op in &call.ops {
        match op {
            HookOp::Delay(ms) => std::thread::sleep(Duration::from_millis(*ms)),
            HookOp::Unshare => sys::unshare_for_hook().map_err(|e| Trouble::io("leave the namespaces", e))?,
            _ => {}
        }
    }
    let state = hook_input(&call.ops)?;
    let watched =
        [HookOp::IgnoreExit, HookOp::Abort, HookOp::SkipAfterFailure, HookOp::Twice, HookOp::Background];
    if !watched.iter().any(|op| call.has(op)) {
        let mut command = call.command();
        if let Some(file) = stdin_file(state.as_deref())? {
            command.stdin(file);
        }
        let source = command.exec();
        return Err(Trouble::io(format!("start hook {}", PathBuf::from(&call.argv[0]).display()), source));
    }
    watch(&call, state.as_deref())
}

fn go_home(namespace: &File) -> Result<(), Trouble> {
    use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
    use std::os::fd::AsFd;
    let cwd = std::env::current_dir();
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Mount))
        .map_err(|e| Trouble::io("return to the caller's mount namespace", e.into()))?;
    if let Ok(cwd) = cwd {
        let _ = std::env::set_current_dir(cwd);
    }
    Ok(())
}

/// The text for the hook's stdin when it differs from what the runtime wrote.
fn hook_input(ops: &[HookOp]) -> Result<Option<Vec<u8>>, Trouble> {
    let edits: Vec<_> =
        ops.iter().filter_map(|op| if let HookOp::State(e, _) = op { Some(e) } else { None }).collect();
    let needs_text = !edits.is_empty() || ops.contains(&HookOp::CutStdin) || ops.contains(&HookOp::Twice);
    if ops.contains(&HookOp::NoStdin) {
        return Ok(Some(Vec::new()));
    }
    if !needs_text {
        return Ok(None);
    }
    let mut text = Vec::new();
    io::stdin()
        .take(STATE_LIMIT)
        .read_to_end(&mut text)
        .map_err(|e| Trouble::io("read the hook's state", e))?;
    if ops.contains(&HookOp::CutStdin) {
        text.truncate(text.len() / 2);
    }
    if let (false, Ok(mut state)) = (edits.is_empty(), serde_json::from_slice(&text)) {
        for edit in edits {
            edit.apply(&mut state, &NoVars);
        }
        text = state.to_string().into_bytes();
    }
    Ok(Some(text))
}

fn stdin_file(text: Option<&[u8]>) -> Result<Option<File>, Trouble> {
    let Some(text) = text else { return Ok(None) };
    let fail = |e: io::Error| Trouble::io("write the hook's state", e);
    let fd = memfd_create("plimsoll-faults-state", MemfdFlags::CLOEXEC).map_err(|e| fail(e.into()))?;
    let mut file = File::from(fd);
    file.write_all(text).and_then(|()| file.rewind()).map_err(fail)?;
    Ok(Some(file))
}

fn watch(call: &HookCall, state: Option<&[u8]>) -> Result<u8, Trouble> {
    let spawn = |stdin: Option<File>| {
        let mut command = call.command();
        if let Some(file) = stdin {
            command.stdin(file);
        }
        if call.has(&HookOp::Background) {
            command.stdout(Stdio::null()).stderr(Stdio::null());
        }
        command.spawn().map_err(|e| Trouble::io("start the hook", e))
    };
    if call.has(&HookOp::Background) {
        // The runtime closes its end of the pipe when we leave, so the hook needs a copy of its input.
        let mut text = Vec::new();
        let _ = io::stdin().take(STATE_LIMIT).read_to_end(&mut text);
        spawn(stdin_file(Some(&text))?)?;
        return Ok(0);
    }
    let mut code = 0;
    for _ in 0..if call.has(&HookOp::Twice) { 2 } else { 1 } {
        let mut child = spawn(stdin_file(state)?)?;
        code = exit_code(child.wait().map_err(|e| Trouble::io("wait for the hook", e))?);
    }
    if code == 0 {
        return Ok(0);
    }
    if call.has(&HookOp::SkipAfterFailure) || call.has(&HookOp::IgnoreExit) {
        let _ = call.marks.parent().map(fs::create_dir_all);
        let _ = fs::write(&call.marks, "");
    }
    if call.has(&HookOp::Abort) {
        let _ = sys::send(std::os::unix::process::parent_id(), 9);
    }
    Ok(if call.has(&HookOp::IgnoreExit) { 0 } else { code })
}
