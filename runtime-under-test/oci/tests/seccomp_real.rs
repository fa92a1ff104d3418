//! Filters on the real kernel. Each case runs in a process of its own (this test program, started again), because a
//! filter cannot be taken off.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::exit)] // helpers of tests, not the program

use std::io::{IoSliceMut, Read};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use plimsoll_oci::seccomp;
use serde_json::{Value, json};

const PROFILE: &str = "PLIMSOLL_TEST_SECCOMP_PROFILE";
const CALL: &str = "PLIMSOLL_TEST_SECCOMP_CALL";

/// The helper: loads the profile of its environment and makes the call named there; exits with 100 + errno, or 0.
#[test]
fn helper() {
    let (Ok(profile), Ok(call)) = (std::env::var(PROFILE), std::env::var(CALL)) else { return };
    let profile: Value = serde_json::from_str(&profile).unwrap();
    let program = seccomp::compile(&profile).unwrap();
    let _listener = seccomp::load(&program).unwrap();
    let result = match call.as_str() {
        "mkdir" => std::fs::create_dir("/proc/plimsoll-cannot-be-made"),
        "cwd" => std::env::current_dir().map(drop),
        "unix-dgram" => UnixDatagram::unbound().map(drop),
        "unix-stream" => nix::sys::socket::socket(
            nix::sys::socket::AddressFamily::Unix,
            nix::sys::socket::SockType::Stream,
            nix::sys::socket::SockFlag::empty(),
            None,
        )
        .map(drop)
        .map_err(Into::into),
        other => panic!("no call {other}"),
    };
    let code = result.err().map_or(0, |e| 100 + e.raw_os_error().unwrap_or(99));
    std::process::exit(code);
}

fn run(profile: &Value, call: &str) -> ExitStatus {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "helper", "--nocapture", "--test-threads=1"])
        .env(PROFILE, profile.to_string())
        .env(CALL, call)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() > end {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("the helper did not end: {profile} {call}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn rule(action: &str, name: &str, extra: &Value) -> Value {
    let mut rule = json!({"names": [name], "action": action});
    for (key, value) in extra.as_object().unwrap() {
        rule[key] = value.clone();
    }
    json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule],
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64"]})
}

/// Loading needs privilege or `no_new_privs`; a machine that gives neither skips.
fn can_load() -> bool {
    let allow = json!({"defaultAction": "SCMP_ACT_ALLOW"});
    let ok = run(&allow, "cwd").code() == Some(0);
    if !ok {
        assert!(std::env::var_os("PLIMSOLL_CI").is_none_or(|v| v != "1"), "a filter cannot be loaded here");
        println!("SKIP: a filter cannot be loaded here (needs CAP_SYS_ADMIN)");
    }
    ok
}

#[test]
fn actions_as_the_kernel_takes_them() {
    if !can_load() {
        return;
    }
    let none = json!({});
    assert_eq!(run(&rule("SCMP_ACT_ERRNO", "getcwd", &json!({"errnoRet": 42})), "cwd").code(), Some(142));
    assert_eq!(run(&rule("SCMP_ACT_ERRNO", "getcwd", &none), "cwd").code(), Some(101));
    assert_eq!(run(&rule("SCMP_ACT_LOG", "getcwd", &none), "cwd").code(), Some(0));
    assert_eq!(run(&rule("SCMP_ACT_TRACE", "getcwd", &none), "cwd").code(), Some(138), "no tracer: ENOSYS");
    assert_eq!(run(&rule("SCMP_ACT_KILL_PROCESS", "getcwd", &none), "cwd").signal(), Some(31));
    assert_eq!(run(&rule("SCMP_ACT_TRAP", "getcwd", &none), "cwd").signal(), Some(31));
    assert_eq!(
        run(&rule("SCMP_ACT_KILL_PROCESS", "getcwd", &none), "mkdir").code(),
        Some(102),
        "proc: ENOENT"
    );
}

#[test]
fn arguments_as_the_kernel_sees_them() {
    if !can_load() {
        return;
    }
    let masked = json!([{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"},
        {"index": 1, "value": 15, "valueTwo": 2, "op": "SCMP_CMP_MASKED_EQ"}]);
    let profile = rule("SCMP_ACT_ERRNO", "socket", &json!({"args": masked, "errnoRet": 77}));
    assert_eq!(run(&profile, "unix-dgram").code(), Some(177));
    assert_eq!(run(&profile, "unix-stream").code(), Some(0));
}

#[test]
fn flags_the_features_promise_load() {
    if !can_load() {
        return;
    }
    for flag in seccomp::features()["supportedFlags"].as_array().unwrap() {
        let mut profile = rule("SCMP_ACT_ERRNO", "getcwd", &json!({"errnoRet": 42}));
        profile["flags"] = json!([flag]);
        assert_eq!(run(&profile, "cwd").code(), Some(142), "{flag}");
    }
}

#[test]
fn the_agent_gets_one_state_with_one_descriptor() {
    if !can_load() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    // Long enough that it does not fit a socket address by itself.
    let long = dir.path().join("d".repeat(120));
    std::fs::create_dir(&long).unwrap();
    let short = dir.path().join("agent.sock");
    let listener = UnixListener::bind(&short).unwrap();
    let path = long.join("agent.sock");
    std::fs::hard_link(&short, &path).unwrap();
    let agent = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut bytes, mut space) = (vec![0; 65536], nix::cmsg_space!([std::os::fd::RawFd; 4]));
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let message =
            recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::empty()).unwrap();
        let length = message.bytes;
        let mut kinds = Vec::new();
        for control in message.cmsgs().unwrap() {
            let ControlMessageOwned::ScmRights(fds) = control else { panic!("not SCM_RIGHTS") };
            for fd in fds {
                let link = std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap();
                kinds.push(link.to_string_lossy().into_owned());
                nix::unistd::close(fd).unwrap();
            }
        }
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        assert!(rest.is_empty(), "one state per connection");
        (serde_json::from_slice::<Value>(&bytes[..length]).unwrap(), kinds)
    });
    let profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": path, "listenerMetadata": "meta",
        "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
        "syscalls": [{"names": ["acct"], "action": "SCMP_ACT_NOTIFY"}]});
    // A filter is of the thread that loads it: this test's own. `acct` is called by nobody here.
    let program = seccomp::compile(&profile).unwrap();
    let fd = seccomp::load(&program).unwrap().unwrap();
    let state = json!({"ociVersion": "1.3.0", "id": "c", "status": "creating", "pid": 7, "bundle": "/b"});
    seccomp::send_listener(&path, fd.as_fd(), &state, 7, program.listener_metadata.as_deref()).unwrap();
    let (sent, kinds) = agent.join().unwrap();
    assert_eq!(kinds, ["anon_inode:seccomp notify"]);
    let expected =
        json!({"ociVersion": "1.3.0", "fds": ["seccompFd"], "pid": 7, "metadata": "meta", "state": state});
    assert_eq!(sent, expected);
}

#[test]
fn an_agent_that_is_not_there_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let file = std::fs::File::open("/dev/null").unwrap();
    let send = |path: &std::path::Path| {
        seccomp::send_listener(path, file.as_fd(), &json!({}), 1, None).unwrap_err().to_string()
    };
    assert!(send(&dir.path().join("absent")).contains("connect"));
    assert!(send(std::path::Path::new("relative")).contains("absolute"));
    let plain = dir.path().join("plain");
    std::fs::write(&plain, "").unwrap();
    assert!(send(&plain).contains("connect"));
    let datagram = dir.path().join("datagram");
    let _bound = UnixDatagram::bind(&datagram).unwrap();
    assert!(send(&datagram).contains("connect"));
    let rude = dir.path().join("rude");
    let listener = UnixListener::bind(&rude).unwrap();
    let agent = std::thread::spawn(move || drop(listener.accept().unwrap()));
    let error = send(&rude);
    agent.join().unwrap();
    assert!(error.contains("container process state"), "{error}");
    let slow = dir.path().join("slow");
    let _listener = UnixListener::bind(&slow).unwrap();
    let begun = Instant::now();
    seccomp::send_listener(&slow, file.as_fd(), &json!({}), 1, None).unwrap();
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "an agent that is only slow does not hold the runtime up"
    );
}
