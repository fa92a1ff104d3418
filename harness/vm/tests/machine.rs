//! The host's side against emulators that are shell scripts: each phase has a deadline, damage is never believed, and
//! nothing stays.
#![allow(clippy::unwrap_used)]

use flate2::{Compression, write::GzEncoder};
use plimsoll_vm::frame::Frame;
use plimsoll_vm::qemu::Accelerator;
use plimsoll_vm::run::{Wanted, Watcher};
use plimsoll_vm::{CgroupLayout, Deadlines, Image, Job, Options, Report, VmError};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

#[derive(Default)]
struct Seen {
    out: Vec<u8>,
    notes: Vec<String>,
}

impl Watcher for Seen {
    fn stdout(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }
    fn stderr(&mut self, _: &[u8]) {}
    fn note(&mut self, text: &str) {
        self.notes.push(text.to_owned());
    }
}

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        std::fs::write(place.path("kernel"), "k").unwrap();
        std::fs::create_dir(place.path("root")).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// An emulator that leaves its pid, then runs `body`; `$D` is this place.
    fn emulator(&self, body: &str) {
        let path = self.path("qemu");
        let dir = self.0.path().display();
        // Written by a child: what another test forks must not hold it open for writing when it is executed.
        let mut install = Command::new("install")
            .args(["-m", "755", "/dev/stdin"])
            .arg(&path)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        write!(install.stdin.take().unwrap(), "#!/bin/sh\nD={dir}\necho $$ >> $D/pids\n{body}\n").unwrap();
        assert!(install.wait().unwrap().success());
    }

    fn frames(&self, name: &str, frames: &[Frame]) {
        let mut bytes = Vec::new();
        for frame in frames {
            frame.write(&mut bytes).unwrap();
        }
        std::fs::write(self.path(name), bytes).unwrap();
    }

    fn run(&self, wanted: Wanted) -> (Result<Report, VmError>, Seen) {
        let limit = Duration::from_secs(2);
        let options = Options {
            image: Image::from_parts(&self.path("kernel"), &self.path("root")).unwrap(),
            qemu: self.path("qemu"),
            wanted,
            cpus: 1,
            memory: 256,
            append: String::new(),
            copies: vec![],
            job: Job {
                arguments: vec!["doctor".into()],
                environment: std::collections::BTreeMap::default(),
                seconds: 1,
                modules: vec![],
                cgroups: CgroupLayout::V2,
                largest: 1 << 20,
                hostname: "vm".into(),
            },
            program: self.path("kernel"),
            out: self.path("out"),
            console: None,
            deadlines: Deadlines {
                boot_kvm: limit,
                boot_tcg: limit,
                silence: limit,
                after: Duration::from_secs(30),
                power_off: limit,
            },
        };
        let mut seen = Seen::default();
        let result = plimsoll_vm::run(&options, &mut seen);
        (result, seen)
    }

    /// No emulator is left, nothing lies in the output directory but results.
    fn assert_clean(&self) {
        for pid in std::fs::read_to_string(self.path("pids")).unwrap_or_default().lines() {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let there = ["(qemu)", "(sleep)", "(cat)"].iter().any(|name| stat.contains(name));
            assert!(!there, "the emulator is still there: {stat}");
        }
        if let Ok(entries) = std::fs::read_dir(self.path("out")) {
            assert!(entries.flatten().all(|e| !e.file_name().to_string_lossy().starts_with('.')));
        }
    }
}

/// Frames that bring a file `run.jsonl` with this content.
fn archive(content: &str) -> [Frame; 2] {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, "run.jsonl", content.as_bytes()).unwrap();
    let bytes = tar.into_inner().unwrap().finish().unwrap();
    let digest = Sha256::digest(&bytes).iter().fold(String::new(), |mut out, b| {
        write!(out, "{b:02x}").unwrap();
        out
    });
    [Frame::Archive(bytes.clone()), Frame::ArchiveEnd(bytes.len() as u64, digest)]
}

fn whole() -> Vec<Frame> {
    let mut frames = vec![Frame::Hello("6.0".into()), Frame::Stdout(b"seen".to_vec())];
    frames.extend(archive("a run"));
    frames.push(Frame::Exit(1));
    frames
}

fn machine_error(result: Result<Report, VmError>, part: &str) {
    let text = result.unwrap_err().to_string();
    assert!(text.contains(part), "{text}");
}

#[test]
fn output_results_and_exit_code_come_through() {
    let place = Place::new();
    place.emulator("cat $D/frames");
    place.frames("frames", &whole());
    let (result, seen) = place.run(Wanted::Only(Accelerator::Tcg));
    assert_eq!(result.unwrap().code, 1);
    assert_eq!(seen.out, b"seen");
    assert_eq!(std::fs::read_to_string(place.path("out/run.jsonl")).unwrap(), "a run");
    place.assert_clean();
}

#[test]
fn a_guest_that_never_boots_is_ended_and_its_console_is_shown() {
    let place = Place::new();
    place.emulator("echo 'Kernel panic' >&2; exec sleep 1000");
    let (result, _) = place.run(Wanted::Only(Accelerator::Tcg));
    let text = result.unwrap_err().to_string();
    assert!(text.contains("no sign of the guest") && text.contains("Kernel panic"), "{text}");
    place.assert_clean();
}

#[test]
fn emulation_follows_when_kvm_hangs() {
    if std::fs::File::options().read(true).write(true).open("/dev/kvm").is_err() {
        eprintln!("SKIP: no /dev/kvm, so nothing is tried before emulation");
        return;
    }
    let place = Place::new();
    place.emulator("case \"$*\" in *'-accel kvm'*) exec sleep 1000;; esac; cat $D/frames");
    place.frames("frames", &whole());
    let (result, seen) = place.run(Wanted::Auto);
    assert_eq!(result.unwrap().accelerator, Accelerator::Tcg);
    assert!(seen.notes.iter().any(|n| n.starts_with("kvm does not work here")), "{:?}", seen.notes);
    assert_eq!(std::fs::read_to_string(place.path("pids")).unwrap().lines().count(), 2);
    place.assert_clean();
}

#[test]
fn silence_ends_the_machine() {
    let place = Place::new();
    place.emulator("cat $D/frames; exec sleep 1000");
    place.frames("frames", &[Frame::Hello("6.0".into())]);
    machine_error(place.run(Wanted::Only(Accelerator::Tcg)).0, "said nothing");
    place.assert_clean();
}

#[test]
fn a_machine_that_dies_early_is_no_result() {
    let place = Place::new();
    place.emulator("cat $D/frames");
    place.frames("frames", &whole()[..3]);
    machine_error(place.run(Wanted::Only(Accelerator::Tcg)).0, "ended before");
    assert!(!place.path("out/run.jsonl").exists());
    place.assert_clean();
}

#[test]
fn a_machine_that_does_not_switch_off_is_ended_and_its_result_kept() {
    let place = Place::new();
    place.emulator("cat $D/frames; exec sleep 1000");
    place.frames("frames", &whole());
    let (result, seen) = place.run(Wanted::Only(Accelerator::Tcg));
    assert_eq!(result.unwrap().code, 1);
    assert!(seen.notes.iter().any(|n| n.contains("does not switch off")), "{:?}", seen.notes);
    place.assert_clean();
}

#[test]
fn damage_and_half_results_are_refused() {
    let place = Place::new();
    place.emulator("cat $D/frames");
    place.frames("frames", &whole());
    let mut bytes = std::fs::read(place.path("frames")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(place.path("frames"), bytes).unwrap();
    assert!(matches!(place.run(Wanted::Only(Accelerator::Tcg)).0, Err(VmError::Channel(_))));
    // A part of the archive is missing, and every frame is sound.
    let [Frame::Archive(part), end] = archive("a run") else { panic!("an archive begins with its content") };
    let half = Frame::Archive(part[..part.len() / 2].to_vec());
    place.frames("frames", &[Frame::Hello("6.0".into()), half, end, Frame::Exit(0)]);
    assert!(matches!(place.run(Wanted::Only(Accelerator::Tcg)).0, Err(VmError::Channel(_))));
    // No archive at all is no success either.
    place.frames("frames", &[Frame::Hello("6.0".into()), Frame::Exit(0)]);
    assert!(matches!(place.run(Wanted::Only(Accelerator::Tcg)).0, Err(VmError::Channel(_))));
    assert!(!place.path("out/run.jsonl").exists());
    place.assert_clean();
}

#[test]
fn an_emulator_that_is_missing_is_said() {
    let place = Place::new();
    let (result, _) = place.run(Wanted::Only(Accelerator::Tcg));
    assert!(matches!(result, Err(VmError::Program { .. })));
    assert!(!Path::new(&place.path("out")).exists());
}
