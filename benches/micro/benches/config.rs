//! From the bytes of a `config.json` to a checked configuration: the first step of every create.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use plimsoll_bench_micro::engine_config;

fn check(c: &mut Criterion) {
    let mut group = c.benchmark_group("config/check");
    let whole = engine_config();
    let mut bare = whole.clone();
    if let Some(linux) = bare["linux"].as_object_mut() {
        linux.remove("seccomp");
    }
    for (name, document) in [("with-profile", whole), ("without-profile", bare)] {
        let bytes = document.to_string().into_bytes();
        assert_eq!(plimsoll_oci::check(&bytes), Ok(()), "{name}");
        group.bench_function(name, |b| b.iter(|| plimsoll_oci::check(black_box(&bytes))));
    }
    group.finish();
}

criterion_group!(benches, check);
criterion_main!(benches);
