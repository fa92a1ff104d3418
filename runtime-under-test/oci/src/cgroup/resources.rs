//! The `linux.resources` object as types, checked before any cgroup is touched.
//!
//! A limit of 0 counts as absent where the kernel's files give 0 no use as a limit, as every runtime's `update` input
//! has it. `pids.limit` is the exception: there 0 is a value (runtime-spec 1.3.0).

use std::collections::BTreeMap;

use serde_json::Value;

use super::Error;
use super::devices::{self, DeviceRule};
use super::json::{Fields, invalid};

/// Everything that can be asked of a cgroup.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Resources {
    /// The device rules; `None` when the config has no list.
    pub devices: Option<Vec<DeviceRule>>,
    pub memory: Memory,
    pub cpu: Cpu,
    /// Tasks; -1 for no limit.
    pub pids: Option<i64>,
    pub block_io: BlockIo,
    /// Page size as the kernel's files name it, and bytes.
    pub hugepages: Vec<(String, u64)>,
    pub network: Network,
    pub rdma: Vec<Rdma>,
    /// File name and content in the unified hierarchy.
    pub unified: BTreeMap<String, String>,
}

/// Bytes; -1 for no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Memory {
    pub limit: Option<i64>,
    pub reservation: Option<i64>,
    /// Memory and swap together.
    pub swap: Option<i64>,
    pub kernel: Option<i64>,
    pub kernel_tcp: Option<i64>,
    pub swappiness: Option<u64>,
    pub disable_oom_killer: Option<bool>,
    pub use_hierarchy: Option<bool>,
    pub check_before_update: bool,
}

/// Times in microseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Cpu {
    pub shares: Option<u64>,
    /// -1 for no limit.
    pub quota: Option<i64>,
    pub period: Option<u64>,
    pub burst: Option<u64>,
    pub realtime_runtime: Option<i64>,
    pub realtime_period: Option<u64>,
    pub cpus: Option<String>,
    pub mems: Option<String>,
    pub idle: Option<i64>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct BlockIo {
    pub weight: Option<u64>,
    pub leaf_weight: Option<u64>,
    pub devices: Vec<WeightDevice>,
    pub throttles: Vec<Throttle>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WeightDevice {
    pub major: i64,
    pub minor: i64,
    pub weight: Option<u64>,
    pub leaf_weight: Option<u64>,
}

/// What a throttle limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rate {
    ReadBps,
    WriteBps,
    ReadIops,
    WriteIops,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Throttle {
    pub rate: Rate,
    pub major: i64,
    pub minor: i64,
    /// Per second; 0 takes the limit away.
    pub value: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Network {
    pub class_id: Option<u32>,
    pub priorities: Vec<(String, u32)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rdma {
    pub device: String,
    pub hca_handles: Option<u32>,
    pub hca_objects: Option<u32>,
}

/// Where the object stands in the config.
const AT: &str = "linux.resources";

impl Resources {
    /// Reads the object; `null` asks for nothing.
    pub fn parse(value: &Value) -> Result<Self, Error> {
        let fields = Fields::of(value, AT)?;
        let devices = match fields.get("devices") {
            None => None,
            Some(_) => Some(fields.objects("devices")?.iter().map(devices::parse).collect::<Result<_, _>>()?),
        };
        let pids = fields.object("pids")?;
        let limit = pids.int("limit")?;
        if limit.is_some_and(|l| l < -1) {
            return Err(invalid(pids.place("limit"), "must be -1 (no limit), or 0 or more"));
        }
        Ok(Self {
            devices,
            memory: memory(&fields.object("memory")?)?,
            cpu: cpu(&fields.object("cpu")?)?,
            pids: limit,
            block_io: block_io(&fields.object("blockIO")?)?,
            hugepages: hugepages(&fields)?,
            network: network(&fields.object("network")?)?,
            rdma: rdma(&fields.object("rdma")?)?,
            unified: unified(&fields.object("unified")?)?,
        })
    }
}

/// Bytes, -1 for no limit, 0 as absent.
fn bytes(fields: &Fields<'_>, key: &str) -> Result<Option<i64>, Error> {
    match fields.int(key)? {
        Some(n) if n < -1 => {
            Err(invalid(fields.place(key), format!("is {n}: must be -1 (no limit) or more")))
        }
        other => Ok(other.filter(|n| *n != 0)),
    }
}

fn memory(fields: &Fields<'_>) -> Result<Memory, Error> {
    let swappiness = fields.uint("swappiness", u64::MAX)?;
    if let Some(n) = swappiness.filter(|n| *n > 100) {
        return Err(invalid(fields.place("swappiness"), format!("is {n}: must be from 0 to 100")));
    }
    let memory = Memory {
        limit: bytes(fields, "limit")?,
        reservation: bytes(fields, "reservation")?,
        swap: bytes(fields, "swap")?,
        kernel: bytes(fields, "kernel")?,
        kernel_tcp: bytes(fields, "kernelTCP")?,
        swappiness,
        disable_oom_killer: fields.flag("disableOOMKiller")?,
        use_hierarchy: fields.flag("useHierarchy")?,
        check_before_update: fields.flag("checkBeforeUpdate")?.unwrap_or(false),
    };
    if let (Some(limit), Some(swap)) = (memory.limit, memory.swap)
        && swap != -1
        && (limit == -1 || swap < limit)
    {
        let why = format!(
            "is {swap}: it counts memory and swap together, so it must not be below memory.limit ({limit})"
        );
        return Err(invalid(fields.place("swap"), why));
    }
    Ok(memory)
}

fn cpu(fields: &Fields<'_>) -> Result<Cpu, Error> {
    let quota = fields.int("quota")?.filter(|q| *q != 0);
    if quota.is_some_and(|q| q < -1) {
        return Err(invalid(fields.place("quota"), "must be -1 (no limit) or more"));
    }
    let burst = fields.uint("burst", u64::MAX)?;
    if let (Some(quota), Some(burst)) = (quota, burst)
        && u64::try_from(quota).is_ok_and(|q| burst > q)
    {
        return Err(invalid(
            fields.place("burst"),
            format!("is {burst}: must not be above the quota ({quota})"),
        ));
    }
    let idle = fields.int("idle")?;
    if idle.is_some_and(|i| !(0..=1).contains(&i)) {
        return Err(invalid(fields.place("idle"), "must be 0 or 1"));
    }
    let list = |key: &str| Ok::<_, Error>(fields.text(key)?.filter(|s| !s.is_empty()).map(String::from));
    let nonzero = |key: &str| Ok::<_, Error>(fields.uint(key, u64::MAX)?.filter(|n| *n != 0));
    Ok(Cpu {
        shares: nonzero("shares")?,
        quota,
        period: nonzero("period")?,
        burst,
        realtime_runtime: fields.int("realtimeRuntime")?.filter(|n| *n != 0),
        realtime_period: nonzero("realtimePeriod")?,
        cpus: list("cpus")?,
        mems: list("mems")?,
        idle,
    })
}

/// A weight from 10 to 1000; 0 as absent.
fn weight(fields: &Fields<'_>, key: &str) -> Result<Option<u64>, Error> {
    let weight = fields.uint(key, u64::from(u16::MAX))?.filter(|w| *w != 0);
    match weight.filter(|w| !(10..=1000).contains(w)) {
        Some(w) => Err(invalid(fields.place(key), format!("is {w}: must be from 10 to 1000"))),
        None => Ok(weight),
    }
}

fn device(fields: &Fields<'_>) -> Result<(i64, i64), Error> {
    let number = |key: &str| match fields.int(key)? {
        Some(n) if n >= 0 => Ok(n),
        Some(n) => Err(invalid(fields.place(key), format!("is {n}: must be 0 or more"))),
        None => Err(invalid(fields.place(key), "is required")),
    };
    Ok((number("major")?, number("minor")?))
}

fn block_io(fields: &Fields<'_>) -> Result<BlockIo, Error> {
    let mut devices = Vec::new();
    for entry in fields.objects("weightDevice")? {
        let (major, minor) = device(&entry)?;
        let (weight, leaf_weight) = (weight(&entry, "weight")?, weight(&entry, "leafWeight")?);
        if weight.is_none() && leaf_weight.is_none() {
            return Err(invalid(entry.at(), "must have weight or leafWeight"));
        }
        devices.push(WeightDevice { major, minor, weight, leaf_weight });
    }
    let mut throttles = Vec::new();
    for (key, rate) in [
        ("throttleReadBpsDevice", Rate::ReadBps),
        ("throttleWriteBpsDevice", Rate::WriteBps),
        ("throttleReadIOPSDevice", Rate::ReadIops),
        ("throttleWriteIOPSDevice", Rate::WriteIops),
    ] {
        for entry in fields.objects(key)? {
            let (major, minor) = device(&entry)?;
            let value =
                entry.uint("rate", u64::MAX)?.ok_or_else(|| invalid(entry.place("rate"), "is required"))?;
            throttles.push(Throttle { rate, major, minor, value });
        }
    }
    Ok(BlockIo {
        weight: weight(fields, "weight")?,
        leaf_weight: weight(fields, "leafWeight")?,
        devices,
        throttles,
    })
}

fn hugepages(fields: &Fields<'_>) -> Result<Vec<(String, u64)>, Error> {
    let mut all = Vec::new();
    for entry in fields.objects("hugepageLimits")? {
        let size = entry.text("pageSize")?.unwrap_or_default();
        if page_bytes(size).is_none() {
            let why = format!("is {size:?}: must be a number and KB, MB or GB, such as \"2MB\"");
            return Err(invalid(entry.place("pageSize"), why));
        }
        let limit =
            entry.uint("limit", u64::MAX)?.ok_or_else(|| invalid(entry.place("limit"), "is required"))?;
        all.push((size.to_owned(), limit));
    }
    Ok(all)
}

/// The bytes of a page size such as `2MB`.
pub(super) fn page_bytes(size: &str) -> Option<u64> {
    let digits = size.len().checked_sub(2)?;
    let (number, unit) = (size.get(..digits)?, size.get(digits..)?);
    let factor = match unit {
        "KB" => 1 << 10,
        "MB" => 1 << 20,
        "GB" => 1 << 30,
        _ => return None,
    };
    if number.is_empty() || number.starts_with('0') || !number.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    number.parse::<u64>().ok()?.checked_mul(factor)
}

fn network(fields: &Fields<'_>) -> Result<Network, Error> {
    let mut priorities = Vec::new();
    for entry in fields.objects("priorities")? {
        let name = entry.text("name")?.unwrap_or_default();
        if name.is_empty() || name.contains([' ', '\n', '/']) {
            return Err(invalid(
                entry.place("name"),
                format!("is {name:?}: must name an interface of the runtime"),
            ));
        }
        let priority =
            entry.uint32("priority")?.ok_or_else(|| invalid(entry.place("priority"), "is required"))?;
        priorities.push((name.to_owned(), priority));
    }
    Ok(Network { class_id: fields.uint32("classID")?, priorities })
}

fn rdma(fields: &Fields<'_>) -> Result<Vec<Rdma>, Error> {
    let mut all = Vec::new();
    for (device, value) in fields.entries() {
        let entry = Fields::of(value, fields.place(device))?;
        let (hca_handles, hca_objects) = (entry.uint32("hcaHandles")?, entry.uint32("hcaObjects")?);
        if hca_handles.is_none() && hca_objects.is_none() {
            return Err(invalid(entry.at(), "must have hcaHandles or hcaObjects"));
        }
        all.push(Rdma { device: device.to_owned(), hca_handles, hca_objects });
    }
    Ok(all)
}

fn unified(fields: &Fields<'_>) -> Result<BTreeMap<String, String>, Error> {
    let mut all = BTreeMap::new();
    for (file, value) in fields.entries() {
        if file.contains(['/', '\0']) || !file.contains('.') || file.starts_with('.') {
            let why = "must be the name of a cgroup v2 file, such as memory.high";
            return Err(invalid(fields.place(file), why));
        }
        let Value::String(text) = value else { return Err(invalid(fields.place(file), "must be a string")) };
        all.insert(file.to_owned(), text.clone());
    }
    Ok(all)
}
