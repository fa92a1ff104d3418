//! From a checked profile to BPF.
//!
//! For each architecture the filter is a function from call number to answer that is constant over ranges. The ranges
//! are found by binary search, so a call costs about log2(ranges) comparisons whatever its number; neighbouring calls
//! with the same answer share a range. Conditions are chains behind their range, in the profile's order.

use libc::sock_filter;

use super::Error;
use super::arch::{Arch, Family, Name, X32_BIT};
use super::asm::{Asm, MAX_INSTRUCTIONS, Pos, Test};
use super::profile::{Condition, Operator, Profile, Rule};

/// What an architecture that the profile does not list gets: the calling thread dies.
const BAD_ARCH: u32 = libc::SECCOMP_RET_KILL_THREAD;

/// Offsets in `struct seccomp_data`.
const OFFSET_NR: u32 = 0;
const OFFSET_ARCH: u32 = 4;
const OFFSET_ARGS: u32 = 16;

/// An answer under conditions that all must hold.
type Guarded = (Vec<Condition>, u32);

/// What a range of call numbers gets.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    /// Always this value.
    Fixed(u32),
    /// The first whose conditions hold; the last has none.
    Chain(Vec<Guarded>),
}

/// A range's first number and its answer; it ends where the next begins.
type Ranges = Vec<(u32, Answer)>;

/// Compiles a profile for one family of architectures.
pub(super) fn compile(profile: &Profile, family: Family) -> Result<Vec<sock_filter>, Error> {
    let Some(native) = family.first() else {
        let why = "this program has no table of system calls for the machine it was built for";
        return Err(Error::Invalid { field: "architectures".into(), why: why.into() });
    };
    let calls: Vec<Named<'_>> = profile
        .rules
        .iter()
        .flat_map(|rule| rule.names.iter().map(move |name| (Name::find(name), rule)))
        .collect();
    let listed = |a: &&Arch| a.name == native.name || profile.architectures.contains(&a.name);
    let mut by_audit: Vec<(u32, bool, Ranges)> = Vec::new();
    for arch in family.iter().filter(listed) {
        let mut own = ranges(&calls, arch, profile.default);
        if let Some((_, _, all)) = by_audit.iter_mut().find(|(audit, ..)| *audit == arch.audit) {
            // x32 shares its audit number with x86-64, above the x32 bit, which the first one had closed.
            all.retain(|(start, _)| *start < X32_BIT || *start == u32::MAX);
            let end = all.len() - 1;
            all.splice(end..end, own);
        } else {
            close(&mut own, arch, profile.default);
            by_audit.push((arch.audit, arch.little_endian(), own));
        }
    }
    let narrow = |audit: u32| family.iter().any(|a| a.audit == audit && a.narrow);
    let mut asm = Asm::default();
    let mut next = asm.ret(BAD_ARCH);
    for (audit, little_endian, ranges) in by_audit.into_iter().rev() {
        let layout = Layout { little_endian, narrow: narrow(audit) };
        let block = emit_ranges(&mut asm, &ranges, layout);
        asm.goto(block);
        let block = asm.load(OFFSET_NR);
        next = asm.branch(Test::Eq, audit, block, next);
    }
    asm.load(OFFSET_ARCH);
    let filter = asm.finish();
    if filter.len() > MAX_INSTRUCTIONS {
        let why = format!(
            "the filter needs {} instructions and the kernel takes at most {MAX_INSTRUCTIONS}: use fewer argument conditions",
            filter.len()
        );
        return Err(Error::Invalid { field: "syscalls".into(), why });
    }
    Ok(filter)
}

/// Ends an architecture's ranges. The numbers above the x32 bit belong to x32, which is of a bad architecture unless it
/// is listed. But -1 is what a tracer leaves behind when it skips a call, and gets the default.
fn close(ranges: &mut Ranges, arch: &Arch, default: u32) {
    if arch.name == "SCMP_ARCH_X86_64" {
        ranges.push((X32_BIT, Answer::Fixed(BAD_ARCH)));
    }
    ranges.push((u32::MAX, Answer::Fixed(default)));
}

/// One call of one rule.
type Named<'a> = (Name, &'a Rule<'a>);

/// What one rule has to say about a call number.
#[derive(Clone, Copy)]
enum Entry<'a> {
    Rule(&'a Rule<'a>),
    /// Through a multiplexing call: the selector, and the answer.
    Selector(u32, u32),
}

/// The calls of one architecture, from its base on.
fn ranges(calls: &[Named<'_>], arch: &Arch, default: u32) -> Ranges {
    let mut entries: Vec<(u32, Entry<'_>)> = Vec::with_capacity(calls.len());
    for (name, rule) in calls {
        entries.extend(arch.number(name).map(|nr| (nr, Entry::Rule(rule))));
        // The arguments behind a multiplexing call are in memory, where a filter cannot look.
        if rule.always() {
            let via = arch.multiplexed(name);
            entries.extend(via.map(|(nr, selector)| (nr, Entry::Selector(selector, rule.ret))));
        }
    }
    // Stable: the profile's order stays within a number.
    entries.sort_by_key(|(nr, _)| *nr);
    let largest = entries.last().map(|(nr, _)| *nr);
    let mut ranges = Vec::with_capacity(2 * entries.len() + 4);
    ranges.push((arch.base, Answer::Fixed(default)));
    for same in entries.chunk_by(|a, b| a.0 == b.0) {
        let nr = same[0].0;
        ranges.push((nr, settle(same, default)));
        ranges.push((nr + 1, Answer::Fixed(default)));
    }
    if let Some(largest) = largest
        && hides_new_calls(default)
    {
        // A profile cannot know calls that are newer than it: programs fall back to older ones on ENOSYS alone.
        ranges.push((largest + 1, Answer::Fixed(libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs())));
    }
    tidy(ranges)
}

/// Whether a default keeps a program from learning that a call does not exist. A tracer can say so itself.
fn hides_new_calls(default: u32) -> bool {
    !matches!(
        default & libc::SECCOMP_RET_ACTION_FULL,
        libc::SECCOMP_RET_ALLOW | libc::SECCOMP_RET_LOG | libc::SECCOMP_RET_TRACE
    )
}

/// The answer for one number: a chain up to the first unconditional entry, or a fixed answer where that is all.
fn settle(entries: &[(u32, Entry<'_>)], default: u32) -> Answer {
    if let Some((_, Entry::Rule(rule))) = entries.first()
        && rule.always()
    {
        return Answer::Fixed(rule.ret);
    }
    let mut chain: Vec<Guarded> = Vec::new();
    for (_, entry) in entries {
        match entry {
            Entry::Rule(rule) => chain.extend(rule.groups.iter().map(|g| (g.clone(), rule.ret))),
            Entry::Selector(selector, ret) => {
                let value = u64::from(*selector);
                let selects = Condition { index: 0, value, value_two: 0, operator: Operator::Eq };
                chain.push((vec![selects], *ret));
            }
        }
    }
    match chain.iter().position(|(conditions, _)| conditions.is_empty()) {
        Some(last) => chain.truncate(last + 1),
        None => chain.push((Vec::new(), default)),
    }
    let last = chain.last().map_or(default, |(_, ret)| *ret);
    if chain.iter().all(|(_, ret)| *ret == last) { Answer::Fixed(last) } else { Answer::Chain(chain) }
}

/// Of several entries with one start the last counts; neighbours with one answer become one range.
fn tidy(ranges: Ranges) -> Ranges {
    let mut tidied: Ranges = Vec::with_capacity(ranges.len());
    for (start, answer) in ranges {
        if tidied.last().is_some_and(|(s, _)| *s == start) {
            tidied.pop();
        }
        if tidied.last().is_none_or(|(_, a)| *a != answer) {
            tidied.push((start, answer));
        }
    }
    tidied
}

/// How arguments lie in `seccomp_data`.
#[derive(Debug, Clone, Copy)]
struct Layout {
    little_endian: bool,
    narrow: bool,
}

impl Layout {
    fn low(self, index: u8) -> u32 {
        OFFSET_ARGS + 8 * u32::from(index) + if self.little_endian { 0 } else { 4 }
    }

    fn high(self, index: u8) -> u32 {
        OFFSET_ARGS + 8 * u32::from(index) + if self.little_endian { 4 } else { 0 }
    }
}

/// A search tree over the ranges, which are sorted; the number is in the accumulator. The entry is placed last.
fn emit_ranges(asm: &mut Asm, ranges: &[(u32, Answer)], layout: Layout) -> Pos {
    match ranges {
        [] => asm.ret(BAD_ARCH),
        [(_, Answer::Fixed(ret))] => asm.ret(*ret),
        [(_, Answer::Chain(chain))] => emit_chain(asm, chain, layout),
        _ => {
            let (below, above) = ranges.split_at(ranges.len() / 2);
            let yes = emit_ranges(asm, above, layout);
            let no = emit_ranges(asm, below, layout);
            asm.branch(Test::Ge, above[0].0, yes, no)
        }
    }
}

fn emit_chain(asm: &mut Asm, chain: &[Guarded], layout: Layout) -> Pos {
    let mut next = None;
    for (conditions, ret) in chain.iter().rev() {
        let otherwise = match next {
            None => asm.ret(*ret),
            Some(pos) => pos,
        };
        let mut yes = asm.ret(*ret);
        for condition in conditions.iter().rev() {
            yes = emit_condition(asm, *condition, layout, yes, otherwise);
        }
        next = Some(yes);
    }
    next.unwrap_or_else(|| asm.ret(BAD_ARCH))
}

/// A 64-bit comparison from 32-bit ones: the upper half decides unless it is equal.
fn emit_condition(asm: &mut Asm, condition: Condition, layout: Layout, yes: Pos, no: Pos) -> Pos {
    let Condition { index, value, value_two, operator } = condition;
    let (high, low) = ((value >> 32) as u32, value as u32);
    let wide = !layout.narrow;
    let order = |asm: &mut Asm, test: Test, yes: Pos, no: Pos| {
        asm.branch(test, low, yes, no);
        let mut entry = asm.load(layout.low(index));
        if wide {
            let equal = asm.branch(Test::Eq, high, entry, no);
            asm.branch(Test::Gt, high, yes, equal);
            entry = asm.load(layout.high(index));
        }
        entry
    };
    let masked = |asm: &mut Asm, mask: u64, value: u64, yes: Pos, no: Pos| {
        let value = value & mask;
        let half = |asm: &mut Asm, offset: u32, mask: u32, value: u32, yes: Pos| {
            asm.branch(Test::Eq, value, yes, no);
            if mask != u32::MAX {
                asm.mask(mask);
            }
            asm.load(offset)
        };
        let mut entry = half(asm, layout.low(index), mask as u32, value as u32, yes);
        if wide && mask >> 32 != 0 {
            entry = half(asm, layout.high(index), (mask >> 32) as u32, (value >> 32) as u32, entry);
        }
        entry
    };
    match operator {
        Operator::Eq => masked(asm, u64::MAX, value, yes, no),
        Operator::Ne => masked(asm, u64::MAX, value, no, yes),
        Operator::MaskedEq => masked(asm, value, value_two, yes, no),
        Operator::Gt => order(asm, Test::Gt, yes, no),
        Operator::Le => order(asm, Test::Gt, no, yes),
        Operator::Ge => order(asm, Test::Ge, yes, no),
        Operator::Lt => order(asm, Test::Ge, no, yes),
    }
}
