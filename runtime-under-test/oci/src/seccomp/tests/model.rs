//! The profile's meaning, read naively from its JSON: the first rule that holds answers. Shares only the call table
//! with the compiler.

use serde_json::Value;

use super::super::arch::{Arch, Family, Name};
use super::machine::Call;

fn list<'a>(v: &'a Value, key: &str) -> &'a [Value] {
    v[key].as_array().map_or(&[], Vec::as_slice)
}

fn answer(action: &str, errno: &Value) -> u32 {
    let data = u32::try_from(errno.as_u64().unwrap_or(1)).unwrap();
    match action {
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => 0,
        "SCMP_ACT_KILL_PROCESS" => 0x8000_0000,
        "SCMP_ACT_TRAP" => 0x0003_0000,
        "SCMP_ACT_ERRNO" => 0x0005_0000 | data,
        "SCMP_ACT_NOTIFY" => 0x7fc0_0000,
        "SCMP_ACT_TRACE" => 0x7ff0_0000 | data,
        "SCMP_ACT_LOG" => 0x7ffc_0000,
        "SCMP_ACT_ALLOW" => 0x7fff_0000,
        other => panic!("{other}"),
    }
}

fn holds(condition: &Value, call: &Call, narrow: bool) -> bool {
    let cut = |v: u64| if narrow { v & 0xffff_ffff } else { v };
    let arg = cut(call.args[usize::try_from(condition["index"].as_u64().unwrap()).unwrap()]);
    let value = cut(condition["value"].as_u64().unwrap());
    let two = cut(condition["valueTwo"].as_u64().unwrap_or(0));
    match condition["op"].as_str().unwrap() {
        "SCMP_CMP_NE" => arg != value,
        "SCMP_CMP_LT" => arg < value,
        "SCMP_CMP_LE" => arg <= value,
        "SCMP_CMP_EQ" => arg == value,
        "SCMP_CMP_GE" => arg >= value,
        "SCMP_CMP_GT" => arg > value,
        "SCMP_CMP_MASKED_EQ" => arg & value == two & value,
        other => panic!("{other}"),
    }
}

fn args_hold(args: &[Value], call: &Call, narrow: bool) -> bool {
    let mut seen = [0; 6];
    for a in args {
        seen[usize::try_from(a["index"].as_u64().unwrap()).unwrap()] += 1;
    }
    if seen.iter().any(|n| *n > 1) {
        args.iter().any(|a| holds(a, call, narrow))
    } else {
        args.iter().all(|a| holds(a, call, narrow))
    }
}

/// The architecture that a call belongs to, if the profile lists it.
fn listed<'a>(cfg: &Value, family: Family, call: &Call) -> Option<&'a Arch> {
    let x32 = call.arch == 0xC000_003E && call.nr >= 0x4000_0000;
    family.iter().find(|a| {
        let on = a.name == family[0].name || list(cfg, "architectures").iter().any(|l| l == a.name);
        on && a.audit == call.arch && (a.base != 0) == x32
    })
}

/// What the kernel should be told for a call under a profile.
pub(super) fn judge(cfg: &Value, family: Family, call: &Call) -> u32 {
    let default = answer(cfg["defaultAction"].as_str().unwrap(), &cfg["defaultErrnoRet"]);
    if call.nr == u32::MAX {
        let known = family[0].audit == call.arch
            || family
                .iter()
                .any(|a| a.audit == call.arch && list(cfg, "architectures").iter().any(|l| l == a.name));
        return if known { default } else { 0 };
    }
    let Some(arch) = listed(cfg, family, call) else { return 0 };
    let mut largest = None;
    for rule in list(cfg, "syscalls") {
        let args = list(rule, "args");
        for name in list(rule, "names").iter().map(|n| n.as_str().unwrap()) {
            let direct = arch.number(&Name::find(name));
            let via = arch.multiplexed(&Name::find(name)).filter(|_| args.is_empty());
            largest = largest.max(direct).max(via.map(|v| v.0));
        }
    }
    for rule in list(cfg, "syscalls") {
        let args = list(rule, "args");
        let ret = answer(rule["action"].as_str().unwrap(), &rule["errnoRet"]);
        for name in list(rule, "names").iter().map(|n| n.as_str().unwrap()) {
            if arch.number(&Name::find(name)) == Some(call.nr) && args_hold(args, call, arch.narrow) {
                return ret;
            }
            let via = arch.multiplexed(&Name::find(name)).filter(|_| args.is_empty());
            let selector = if arch.narrow { call.args[0] & 0xffff_ffff } else { call.args[0] };
            if via.is_some_and(|(nr, s)| nr == call.nr && selector == u64::from(s)) {
                return ret;
            }
        }
    }
    let permissive = ["SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"];
    match largest {
        Some(l) if call.nr > l && !permissive.iter().any(|p| cfg["defaultAction"] == **p) => 0x0005_0026,
        _ => default,
    }
}
