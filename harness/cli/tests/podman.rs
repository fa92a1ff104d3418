//! The reference runtime under podman (`--runtime`), with podman's own defaults: its profile, its capabilities, its
//! masked paths.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // helpers of tests

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A private podman: nothing of the machine's own is seen or touched.
struct Podman {
    dir: tempfile::TempDir,
}

impl Podman {
    /// `None`, said aloud, where there is no podman or no root. It need not be installed for the tests.
    fn here() -> Option<Self> {
        let found = Command::new("podman").arg("--version").stdout(Stdio::null()).status();
        if !found.is_ok_and(|s| s.success()) || !nix::unistd::geteuid().is_root() {
            println!("SKIP: needs podman and root");
            return None;
        }
        let podman =
            Self { dir: tempfile::Builder::new().prefix("plimsoll-pod-").tempdir_in("/var/tmp").unwrap() };
        // The runtime is chosen by the name of its link.
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_plimsoll"), podman.path("plimsoll-oci")).unwrap();
        // Limits above those of the caller need a capability that many test machines lack.
        std::fs::write(
            podman.path("containers.conf"),
            "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n",
        )
        .unwrap();
        podman.import();
        Some(podman)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("timeout");
        command.args([
            "120",
            "podman",
            "--storage-driver",
            "vfs",
            "--cgroup-manager",
            "cgroupfs",
            "--events-backend",
            "file",
        ]);
        for (flag, name) in
            [("--root", "root"), ("--runroot", "run"), ("--tmpdir", "tmp"), ("--runtime", "plimsoll-oci")]
        {
            command.arg(flag).arg(self.path(name));
        }
        // The monitor writes a file `oom` where it was started.
        command.args(args).current_dir(self.dir.path()).stdin(Stdio::null());
        command.env("CONTAINERS_CONF", self.path("containers.conf"));
        command
    }

    /// Through files: a container's monitor inherits the streams and would keep pipes open.
    fn call(&self, args: &[&str]) -> Output {
        let (out, err) = (self.path("out"), self.path("err"));
        let file = |path: &PathBuf| std::fs::File::create(path).unwrap();
        let status = self.command(args).stdout(file(&out)).stderr(file(&err)).status().unwrap();
        Output { status, stdout: std::fs::read(out).unwrap(), stderr: std::fs::read(err).unwrap() }
    }

    fn ok(&self, args: &[&str]) -> String {
        let output = self.call(args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// An image with the guest program only.
    fn import(&self) {
        let root = self.path("image");
        std::fs::create_dir(&root).unwrap();
        std::fs::write(root.join("probe"), plimsoll_kit::probe::PROBE).unwrap();
        let mode = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
        std::fs::set_permissions(root.join("probe"), mode).unwrap();
        let archive = self.path("image.tar");
        let tar =
            Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&archive).arg(".").status().unwrap();
        assert!(tar.success());
        self.ok(&["import", archive.to_str().unwrap(), "localhost/guest"]);
    }

    fn run(&self, flags: &[&str], steps: &str) -> Output {
        let script = script(steps);
        let args =
            [&["run", "--rm", "--network", "none"], flags, &["localhost/guest", "/probe", &script]].concat();
        self.call(&args)
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        let _ = self.command(&["rm", "--force", "--all", "--time", "0"]).output();
        // Storage holds mounts of its own.
        let _ = self.command(&["system", "reset", "--force"]).output();
    }
}

fn script(steps: &str) -> String {
    format!(r#"{{"nonce":1,"steps":[{steps}]}}"#)
}

#[test]
fn podman_runs_containers_with_the_reference_runtime() {
    let Some(podman) = Podman::here() else { return };
    let output = podman.run(&[], r#"{"do":"print","text":"hello"},{"ask":"seccomp"},{"do":"exit","code":7}"#);
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(7), "{said}");
    assert!(said.contains("hello") && said.contains(r#""mode":2"#), "{said}");

    // What is not there is told by the words that podman turns into its exit code 127.
    let output = podman.call(&["run", "--rm", "--network", "none", "localhost/guest", "/no/such"]);
    assert_eq!(output.status.code(), Some(127), "{}", String::from_utf8_lossy(&output.stderr));

    // The kernel's kill for memory.
    let output =
        podman.run(&["--memory", "32m", "--memory-swap", "32m"], r#"{"do":"hold_memory","bytes":268435456}"#);
    assert_eq!(output.status.code(), Some(137), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn podman_manages_a_running_container() {
    let Some(podman) = Podman::here() else { return };
    let pause = script(r#"{"do":"pause_forever","on":["TERM"],"code":5}"#);
    podman.ok(&["run", "--detach", "--name", "c", "--network", "none", "localhost/guest", "/probe", &pause]);
    let inspect = |what: &str| podman.ok(&["inspect", "--format", &format!("{{{{.State.{what}}}}}"), "c"]);
    assert_eq!(inspect("Status"), "running");

    let output = podman.call(&[
        "exec",
        "c",
        "/probe",
        &script(r#"{"do":"print","text":"in"},{"do":"exit","code":3}"#),
    ]);
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
    let said = podman.ok(&["exec", "--tty", "c", "/probe", &script(r#"{"ask":"stdio_tty"}"#)]);
    assert_eq!(said.matches(r#""isatty":true"#).count(), 3, "{said}");
    assert_eq!(podman.call(&["exec", "c", "/no/such"]).status.code(), Some(127));

    assert!(podman.ok(&["stats", "--no-stream", "--format", "{{.PIDs}}", "c"]).starts_with('1'));
    podman.ok(&["update", "--memory", "64m", "c"]);
    podman.ok(&["pause", "c"]);
    assert_eq!(inspect("Status"), "paused");
    podman.ok(&["unpause", "c"]);
    assert_eq!(inspect("Status"), "running");

    podman.ok(&["stop", "--time", "30", "c"]);
    let end = Instant::now() + Duration::from_secs(30);
    while inspect("Status") != "exited" {
        assert!(Instant::now() < end, "never exited: {}", inspect("Status"));
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(inspect("ExitCode"), "5", "TERM reaches the program");
    podman.ok(&["rm", "c"]);
    assert_eq!(podman.ok(&["ps", "--all", "--quiet"]), "");
}
