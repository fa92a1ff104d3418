//! From a device list to what a cgroup takes: part of every container's start.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use plimsoll_bench_micro::device_resources;
use plimsoll_oci::cgroup;

fn device_program(c: &mut Criterion) {
    let mut group = c.benchmark_group("cgroup/device-program");
    for devices in [0, 10, 100, 1000] {
        let resources = device_resources(devices);
        group.bench_with_input(BenchmarkId::from_parameter(devices), &resources, |b, resources| {
            b.iter(|| cgroup::device_program_length(black_box(resources)));
        });
    }
    group.finish();
}

fn device_list(c: &mut Criterion) {
    let resources = device_resources(10);
    c.bench_function("cgroup/device-list-v1", |b| b.iter(|| cgroup::device_list(black_box(&resources))));
}

criterion_group!(benches, device_program, device_list);
criterion_main!(benches);
