//! config-linux.md, user namespace mappings and time offsets.

use plimsoll_kit::prelude::*;
use std::fs;
use std::os::unix::fs::MetadataExt;

/// The file's table of contents.
pub static CASES: &[Case] = &[
    mappings_are_those_configured,
    root_file_system_keeps_its_owners,
    number_of_mappings_is_recorded,
    offsets_are_applied,
    absent_offset_is_zero,
    offsets_without_namespace_are_error,
];

const RANGES: &[Variant] = &[Variant::new("one", &[]), Variant::new("two", &[]), Variant::new("five", &[])];

/// The maps of the program hold the configured ranges.
#[case(
    covers = [
        "userns.uid-mappings", "userns.gid-mappings", "userns.mapping.container-id", "userns.mapping.host-id",
        "userns.mapping.size"
    ],
    matrix(ranges = RANGES)
)]
async fn mappings_are_those_configured(cx: &mut Cx) -> Verdict {
    let count: u64 = match cx.param("ranges") {
        "one" => 1,
        "two" => 2,
        _ => 5,
    };
    let ranges: Vec<(u64, u64, u64)> = (0..count).map(|n| (n * 1000, 100_000 + n * 2000, 1000)).collect();
    let list: Vec<Value> =
        ranges.iter().map(|(c, h, s)| json!({ "containerID": c, "hostID": h, "size": s })).collect();
    let builder = cx.container(probe::ask(["id_maps"])).namespace("user", None);
    let answers = builder
        .set("/linux/uidMappings", json!(list))
        .set("/linux/gidMappings", json!(list))
        .answers()
        .await?;
    let want = json!(ranges.iter().map(|(c, h, s)| json!([c, h, s])).collect::<Vec<_>>());
    let seen = answers.facts("id_maps")?;
    check_eq!(of "userns.uid-mappings"; seen["uid_map"], want, "uid_map");
    check_eq!(of "userns.gid-mappings"; seen["gid_map"], want, "gid_map");
    Ok(())
}

/// The runtime does not change the owners of the root file system to fit the mappings.
#[case(covers = ["userns.no-chown-of-fs"])]
async fn root_file_system_keeps_its_owners(cx: &mut Cx) -> Verdict {
    let builder = cx.container(probe::exit(0)).user_namespace(100_000).file("/etc/given", "x");
    let container = builder.stopped().await?;
    for name in ["", "etc", "etc/given", "etc/passwd", "probe", "tmp"] {
        let meta = fs::symlink_metadata(container.bundle().rootfs().join(name))?;
        check_eq!((meta.uid(), meta.gid()), (0, 0), "the owner of /{name}");
    }
    Ok(())
}

/// The kernel's bound on the number of mappings shows in which list is accepted; it is recorded.
#[case(covers = ["userns.mapping-count-may-be-limited"])]
async fn number_of_mappings_is_recorded(cx: &mut Cx) -> Verdict {
    for count in [6_u64, 340, 341] {
        let list: Vec<Value> = (0..count)
            .map(|n| json!({ "containerID": n * 10, "hostID": 100_000 + n * 20, "size": 10 }))
            .collect();
        let builder = cx.container(probe::exit(0)).namespace("user", None);
        let builder = builder.set("/linux/uidMappings", json!(list)).set("/linux/gidMappings", json!(list));
        let (call, _) = builder.attempt().await?;
        let word = if call.succeeded() { "accepted" } else { "refused" };
        cx.record(&format!("userns.mappings.{count}"), word);
    }
    Ok(())
}

fn need_time(cx: &Cx) -> Result<(), Stop> {
    cx.need_path("/proc/self/timens_offsets", "time-namespace")
}

const OFFSETS: &[Variant] = &[
    Variant::new("seconds", &["timens.offsets.secs"]),
    Variant::new("nanoseconds", &["timens.offsets.nanosecs"]),
    Variant::new("both", &["timens.offsets"]),
    Variant::new("two-clocks", &["timens.offsets"]),
    Variant::new("backwards", &["timens.offsets.secs"]),
];

/// The clocks of the program are ahead of the host's by the configured offsets.
#[case(covers = ["timens.offsets"], matrix(offset = OFFSETS))]
async fn offsets_are_applied(cx: &mut Cx) -> Verdict {
    need_time(cx)?;
    let (monotonic, boottime) = match cx.param("offset") {
        "seconds" => ([7881, 0], [0, 0]),
        "nanoseconds" => ([0, 2_718_281], [0, 0]),
        "both" => ([0, 0], [7881, 2_718_281]),
        "two-clocks" => ([1337, 3_141_519], [7881, 2_718_281]),
        _ => ([-1, 0], [-1, 0]),
    };
    let offset = |o: [i64; 2]| json!({ "secs": o[0], "nanosecs": o[1] });
    let offsets = json!({ "monotonic": offset(monotonic), "boottime": offset(boottime) });
    let builder = cx.container(probe::ask(["namespaces"])).namespace("time", None);
    let answers = builder.set("/linux/timeOffsets", offsets).answers().await?;
    let seen = answers.facts("namespaces")?["timens_offsets"].clone();
    check_eq!(seen["monotonic"], json!(monotonic), "seconds and nanoseconds of the monotonic clock");
    check_eq!(seen["boottime"], json!(boottime), "seconds and nanoseconds of the boot-time clock");
    Ok(())
}

/// A new time namespace without offsets shows the host's clocks.
#[case(covers = ["timens.offsets"])]
async fn absent_offset_is_zero(cx: &mut Cx) -> Verdict {
    need_time(cx)?;
    let answers = cx.container(probe::ask(["namespaces"])).namespace("time", None).answers().await?;
    let seen = answers.facts("namespaces")?["timens_offsets"].clone();
    check_eq!(seen["monotonic"], json!([0, 0]), "seconds and nanoseconds of the monotonic clock");
    Ok(())
}

/// Offsets without a time namespace to hold them are an error.
#[case(covers = ["timens.offsets"])]
async fn offsets_without_namespace_are_error(cx: &mut Cx) -> Verdict {
    need_time(cx)?;
    let offsets = json!({ "monotonic": { "secs": 10, "nanosecs": 0 } });
    cx.container(probe::exit(0)).set("/linux/timeOffsets", offsets).rejected().await?;
    Ok(())
}
