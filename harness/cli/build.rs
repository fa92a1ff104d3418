//! Links the program with the entry point that the bundled OCI runtime has for a faster start.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_ARCH").as_deref() == Ok("x86_64") {
        println!("cargo::rustc-link-arg-bins=-Wl,-e,plimsoll_oci_bundled_entry");
    }
}
