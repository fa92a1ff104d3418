//! The probe brings its own `_start` (see src/sys/start.rs), so libc's start files stay out.
fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg-bins=-nostartfiles");
}
