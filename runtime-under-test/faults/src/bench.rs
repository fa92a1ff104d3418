//! Injections for benchmarks: known amounts of cost, so that a benchmark can be asked to find them.
//!
//! Ids carry their amount: `bench.sleep=5`, `bench.tail=1,20`.

use std::fs::{self, File};
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::context::Context;
use crate::grammar;
use crate::step::{Action, Bench, On, Step, Verbs};
use crate::{memory, sys};

/// Work per container of a scanning call.
const SCAN_COST: Duration = Duration::from_micros(200);

/// Exit status of a call that an injection fails.
const FAILED: u8 = 1;

/// The names and forms of the injections, for lists.
pub const FORMS: &[(&str, &str)] = &[
    ("bench.cpu-burn=PCT", "each call burns PCT % more CPU time than it took"),
    ("bench.sleep=MS", "each call starts MS milliseconds late"),
    ("bench.tail=PCT,FACTOR", "PCT % of calls take FACTOR times as long"),
    ("bench.leak=KIND", "each create leaves one behind: fd, mount, cgroup, file, process, netns"),
    ("bench.global-lock", "calls that change containers wait for each other"),
    ("bench.scan", "each call works once per container, O(N) in live containers"),
    ("bench.fail=PCT", "PCT % of calls fail without being done"),
    ("bench.exit-code=N", "run and exec report N"),
    ("bench.minor-faults=N", "each call touches N fresh pages"),
];

/// The steps for a parameterised id.
pub fn steps(id: &str) -> Result<Vec<Step>, String> {
    let (name, amount) = id.split_once('=').unwrap_or((id, ""));
    let positive = |text: &str| match text.parse::<f64>() {
        Ok(value) if value.is_finite() && value >= 0.0 => Ok(value),
        _ => Err(format!("{id:?}: {text:?} is not a number of 0 or more")),
    };
    let percent = |text: &str| {
        positive(text).and_then(|p| if p > 100.0 { Err(format!("{id:?}: more than 100 %")) } else { Ok(p) })
    };
    let whole =
        |text: &str| text.parse::<u64>().map_err(|_| format!("{id:?}: {text:?} is not a whole number"));
    let any = || Verbs(vec!["*".to_owned()]);
    let action = match name {
        "bench.cpu-burn" => Action::Bench(Bench::CpuBurn(positive(amount)?)),
        "bench.sleep" => Action::Sleep(any(), whole(amount)?),
        "bench.tail" => {
            let (share, factor) = amount.split_once(',').ok_or_else(|| format!("{id:?}: want PCT,FACTOR"))?;
            Action::Bench(Bench::Tail(percent(share)?, positive(factor)?))
        }
        "bench.leak" => Action::Leak(
            Verbs(vec!["create".to_owned(), "run".to_owned()]),
            grammar::leak_kind(amount)?,
            On::Ok,
        ),
        "bench.global-lock" => Action::Bench(Bench::GlobalLock),
        "bench.scan" => Action::Bench(Bench::Scan),
        "bench.fail" => Action::Bench(Bench::Fail(percent(amount)?)),
        "bench.exit-code" => {
            let code = amount.parse().map_err(|_| format!("{id:?}: {amount:?} is no exit status"))?;
            Action::Exit(Verbs(vec!["run".to_owned(), "exec".to_owned()]), code, On::Any)
        }
        "bench.minor-faults" => Action::Bench(Bench::MinorFaults(whole(amount)?)),
        _ => return Err(format!("there is no injection {name:?}")),
    };
    Ok(vec![Step { when: Vec::new(), action }])
}

/// Whether injections concern a command: all that a benchmark times.
pub fn concerns(verb: &str) -> bool {
    !matches!(verb, "version" | "spec" | "features" | "")
}

/// Whether the injection must see the runtime's end.
pub fn watches(injection: &Bench) -> bool {
    matches!(injection, Bench::CpuBurn(_) | Bench::Tail(..) | Bench::GlobalLock)
}

fn dice(percent: f64) -> bool {
    let mut bytes = [0_u8; 8];
    let drawn = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).is_ok();
    drawn && (u64::from_le_bytes(bytes) as f64 / u64::MAX as f64) * 100.0 < percent
}

/// What comes before the call; an exit status means that it is not made.
pub fn before(injection: &Bench, ctx: &Context<'_>) -> Option<u8> {
    match injection {
        Bench::Fail(share) if dice(*share) => {
            eprintln!("plimsoll-faults: injected failure");
            return Some(FAILED);
        }
        Bench::GlobalLock => lock(&ctx.root()),
        Bench::Scan => spin(SCAN_COST * containers(&ctx.root())),
        Bench::MinorFaults(pages) => touch(*pages),
        _ => {}
    }
    None
}

/// What comes after a call that took so long.
pub fn after(injection: &Bench, took: Duration) {
    match injection {
        Bench::CpuBurn(percent) => spin(took.mul_f64(percent / 100.0)),
        Bench::Tail(share, factor) if dice(*share) => {
            std::thread::sleep(took.mul_f64((factor - 1.0).max(0.0)));
        }
        _ => {}
    }
}

/// Held until this process ends, so calls queue up.
fn lock(root: &Path) {
    let name = format!("plimsoll-faults-lock-{:016x}", memory::fnv(root.to_string_lossy().as_bytes()));
    if let Ok(file) = File::options().create(true).append(true).open(std::env::temp_dir().join(name)) {
        let _ = rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive);
        // Dropping the file would release the lock before the runtime was called.
        std::mem::forget(file);
    }
}

fn containers(root: &Path) -> u32 {
    let count = fs::read_dir(root).map_or(0, |entries| entries.flatten().count());
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn spin(time: Duration) {
    let end = Instant::now() + time;
    let mut x = 1_u64;
    while Instant::now() < end {
        for _ in 0..1000 {
            x = black_box(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
        }
    }
}

/// Touches fresh pages until the kernel has counted that many faults; huge pages would hide some.
fn touch(pages: u64) {
    const CHUNK: usize = 64;
    let target = sys::minor_faults().saturating_add(pages);
    let mut kept: Vec<Vec<u8>> = Vec::new();
    while sys::minor_faults() < target && (kept.len() as u64) < pages.saturating_add(16) {
        let mut block = vec![0_u8; CHUNK * 4096];
        for at in (0..block.len()).step_by(4096) {
            block[at] = black_box(1);
            if sys::minor_faults() >= target {
                break;
            }
        }
        kept.push(block);
    }
    black_box(&kept);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_has_a_working_example() {
        for id in [
            "bench.cpu-burn=2",
            "bench.sleep=5",
            "bench.tail=1,20",
            "bench.leak=fd",
            "bench.global-lock",
            "bench.scan",
            "bench.fail=0.5",
            "bench.exit-code=3",
            "bench.minor-faults=100",
        ] {
            assert!(steps(id).is_ok(), "{id}");
            let name = id.split('=').next().unwrap();
            assert!(FORMS.iter().any(|(form, _)| form.split('=').next() == Some(name)), "{id} is not listed");
        }
        for bad in [
            "bench.sleep",
            "bench.sleep=x",
            "bench.tail=1",
            "bench.fail=101",
            "bench.leak=x",
            "bench.nosuch=1",
        ] {
            assert!(steps(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn dice_follow_the_share() {
        assert!(!(0..100).any(|_| dice(0.0)));
        assert!((0..100).all(|_| dice(100.0)));
        let hits = (0..2000).filter(|_| dice(50.0)).count();
        assert!((800..1200).contains(&hits), "{hits} of 2000");
    }

    #[test]
    fn pages_are_touched_in_the_asked_amount() {
        let before = sys::minor_faults();
        touch(500);
        assert!(sys::minor_faults() - before >= 500);
    }
}
