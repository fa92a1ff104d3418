//! Protections whose absence was a CVE; detection only.
