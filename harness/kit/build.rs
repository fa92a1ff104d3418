//! Builds the probe, the static program that goes into every container, and hands its path to `include_bytes!`.
//!
//! The probe is a package of the same workspace with its own profile; a target directory of its own keeps the
//! nested cargo from waiting for the outer one's lock.

use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

fn main() {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let probe = manifest.join("../probe");
    println!("cargo::rerun-if-changed={}", probe.join("src").display());
    println!("cargo::rerun-if-changed={}", probe.join("Cargo.toml").display());
    println!("cargo::rerun-if-changed={}", probe.join("build.rs").display());
    let target = env::var("TARGET").expect("cargo sets TARGET");
    let status = Command::new(env::var_os("CARGO").expect("cargo sets CARGO"))
        .args(["build", "--quiet", "--profile", "probe", "--target", &target, "--target-dir"])
        .arg(out.join("probe-target"))
        .arg("--manifest-path")
        .arg(probe.join("Cargo.toml"))
        // What the outer cargo set for this build script must not leak into the inner build; clippy's wrapper
        // in particular would leave no program behind.
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("RUSTC_WRAPPER")
        .env_remove("CLIPPY_ARGS")
        .env_remove("CARGO_TARGET_DIR")
        .status()
        .expect("cargo can be run to build the probe");
    assert!(status.success(), "the probe does not build; run `cargo build -p plimsoll-probe` to see why");
    let built = out.join("probe-target").join(&target).join("probe/plimsoll-probe");
    fs::copy(&built, out.join("probe")).expect("the built probe can be copied");
}
