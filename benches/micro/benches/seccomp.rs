//! From a `linux.seccomp` object to a filter: part of every container's start.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use plimsoll_bench_micro::{argument_profile, default_profile};
use plimsoll_oci::seccomp;

fn compile(c: &mut Criterion) {
    let mut group = c.benchmark_group("seccomp/compile");
    let default = default_profile();
    group.bench_function("default-profile", |b| b.iter(|| seccomp::compile(black_box(&default))));
    for rules in [10, 100, 600] {
        let profile = argument_profile(rules);
        group.bench_with_input(BenchmarkId::new("argument-rules", rules), &profile, |b, profile| {
            b.iter(|| seccomp::compile(black_box(profile)));
        });
    }
    group.finish();
}

fn read_and_compile(c: &mut Criterion) {
    let text = default_profile().to_string();
    c.bench_function("seccomp/read-and-compile", |b| {
        b.iter(|| seccomp::compile(&serde_json::from_str(black_box(&text)).unwrap_or_default()));
    });
}

criterion_group!(benches, compile, read_and_compile);
criterion_main!(benches);
