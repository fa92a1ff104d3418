//! Links the program with an entry point of its own, see `src/sys/entry.rs`.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_ARCH").as_deref() == Ok("x86_64") {
        println!("cargo::rustc-link-arg-bins=-Wl,-e,plimsoll_oci_entry");
    }
}
