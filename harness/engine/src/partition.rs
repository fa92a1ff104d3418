//! Which share of a plan runs here. Pure: every shard computes all shares and takes its own.

use crate::plan::hex;
use plimsoll_model::Run;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A share of the plan; both numbers are 1-based.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// How the plan is cut.
    pub cut: Cut,
    /// Which share.
    pub index: u32,
    /// How many there are.
    pub of: u32,
}

/// How a plan is cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cut {
    /// Every n-th case.
    Slice,
    /// By a hash of the case id: stable when cases are added.
    Hash,
    /// By how long the cases took in an earlier run, so that the shares take equally long.
    Balanced(Arc<Timings>),
}

impl FromStr for Partition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || format!("`{text}` is no partition: write slice:2/3 or hash:2/3");
        let (kind, share) = text.split_once(':').ok_or_else(bad)?;
        let (m, n) = share.split_once('/').ok_or_else(bad)?;
        let cut = match kind {
            "slice" => Cut::Slice,
            "hash" => Cut::Hash,
            _ => return Err(bad()),
        };
        let (index, of) = (m.parse().map_err(|_| bad())?, n.parse().map_err(|_| bad())?);
        Self::new(cut, index, of).map_err(|_| bad())
    }
}

impl fmt::Display for Partition {
    /// The text is the same for all shares but for the index: shares cut by other timings do not fit together, and the
    /// digest in it says so.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cut {
            Cut::Slice => f.write_str("slice")?,
            Cut::Hash => f.write_str("hash")?,
            Cut::Balanced(timings) => write!(f, "balanced-{}", timings.digest())?,
        }
        write!(f, ":{}/{}", self.index, self.of)
    }
}

impl Partition {
    /// The most shares: more than that is a typing mistake.
    pub const MOST: u32 = 100_000;

    /// A share.
    ///
    /// # Errors
    /// When the index is not between 1 and the count.
    pub fn new(cut: Cut, index: u32, of: u32) -> Result<Self, String> {
        if index == 0 || index > of || of > Self::MOST {
            return Err(format!("share {index} of {of} does not exist"));
        }
        Ok(Self { cut, index, of })
    }

    /// The places in `ids` that belong to this share, in order.
    pub fn share(&self, ids: &[&str]) -> Vec<usize> {
        let mine = self.index - 1;
        match &self.cut {
            Cut::Slice => (0..ids.len()).filter(|i| *i as u32 % self.of == mine).collect(),
            Cut::Hash => (0..ids.len()).filter(|i| hash(ids[*i]) % self.of == mine).collect(),
            Cut::Balanced(timings) => {
                let shares = timings.deal(ids, self.of);
                (0..ids.len()).filter(|i| shares[*i] == mine).collect()
            }
        }
    }
}

fn hash(id: &str) -> u32 {
    let digest = Sha256::digest(id.as_bytes());
    u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]])
}

/// How long cases took, in whole microseconds so that every machine computes the same shares.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Timings(BTreeMap<String, u64>);

impl Timings {
    /// The time of each case in a run, over all its targets.
    pub fn of(run: &Run) -> Self {
        let mut all: BTreeMap<String, u64> = BTreeMap::new();
        for record in run.records.iter().chain(&run.superseded) {
            // Negative or no numbers become 0.
            *all.entry(record.case.to_string()).or_default() += (record.duration_ms * 1000.0) as u64;
        }
        Self(all)
    }

    /// The first half of SHA-256 over cases and times: names the cut.
    pub fn digest(&self) -> String {
        let mut hasher = Sha256::new();
        for (id, time) in &self.0 {
            hasher.update(format!("{id} {time}\n"));
        }
        hex(&hasher.finalize()[..16])
    }

    /// The share (0-based) of each id: the longest case first, each to the share that has least so far.
    fn deal(&self, ids: &[&str], of: u32) -> Vec<u32> {
        let mut known: Vec<u64> = ids.iter().filter_map(|id| self.0.get(*id).copied()).collect();
        known.sort_unstable();
        // A case that is new takes as long as most do. None takes no time, or all of them went to one share.
        let usual = known.get(known.len() / 2).copied().unwrap_or(1);
        let time = |id: &str| self.0.get(id).copied().unwrap_or(usual).max(1);
        let mut order: Vec<usize> = (0..ids.len()).collect();
        order.sort_by_key(|i| (std::cmp::Reverse(time(ids[*i])), ids[*i]));
        let mut loads: std::collections::BinaryHeap<std::cmp::Reverse<(u64, u32)>> =
            (0..of).map(|share| std::cmp::Reverse((0, share))).collect();
        let mut shares = vec![0; ids.len()];
        for i in order {
            if let Some(std::cmp::Reverse((load, share))) = loads.pop() {
                shares[i] = share;
                loads.push(std::cmp::Reverse((load + time(ids[i]), share)));
            }
        }
        shares
    }
}

#[cfg(test)]
mod tests {
    use super::{Cut, Partition, Timings};
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::sync::Arc;

    fn timings(times: &[u64], known: usize) -> Arc<Timings> {
        let all = times.iter().take(known).enumerate();
        Arc::new(Timings(all.map(|(i, t)| (format!("s/x/c{i}"), *t)).collect::<BTreeMap<_, _>>()))
    }

    proptest! {
        #[test]
        fn every_cut_is_disjoint_and_complete(
            times in proptest::collection::vec(0u64..1_000_000, 0..200), known in 0usize..200, of in 1u32..12,
        ) {
            let ids: Vec<String> = (0..times.len()).map(|i| format!("s/x/c{i}")).collect();
            let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
            for cut in [Cut::Slice, Cut::Hash, Cut::Balanced(timings(&times, known))] {
                let share = |i| Partition::new(cut.clone(), i, of).unwrap().share(&ids);
                let mut all: Vec<usize> = (1..=of).flat_map(share).collect();
                all.sort_unstable();
                prop_assert_eq!(all, (0..ids.len()).collect::<Vec<_>>());
            }
        }

        #[test]
        fn balanced_shares_differ_by_one_case_at_most(
            times in proptest::collection::vec(1u64..1_000_000, 1..200), of in 1u32..12,
        ) {
            let ids: Vec<String> = (0..times.len()).map(|i| format!("s/x/c{i}")).collect();
            let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
            let cut = Cut::Balanced(timings(&times, times.len()));
            let load = |i| -> u64 {
                let share = Partition::new(cut.clone(), i, of).unwrap().share(&ids);
                share.iter().map(|p| times[*p]).sum()
            };
            let loads: Vec<u64> = (1..=of).map(load).collect();
            let spread = loads.iter().max().unwrap() - loads.iter().min().unwrap();
            prop_assert!(spread <= *times.iter().max().unwrap(), "{loads:?}");
        }
    }

    #[test]
    fn other_timings_have_another_name() {
        let name =
            |times: &[u64]| Partition::new(Cut::Balanced(timings(times, 9)), 1, 2).unwrap().to_string();
        assert_eq!(name(&[1, 2]), name(&[1, 2]));
        assert_ne!(name(&[1, 2]), name(&[2, 1]));
        assert!(name(&[1]).starts_with("balanced-") && name(&[1]).ends_with(":1/2"));
    }

    #[test]
    fn what_is_no_share_is_refused() {
        for bad in
            ["", "slice", "slice:0/3", "slice:4/3", "hash:a/b", "x:1/2", "balanced:1/2", "hash:1/100001"]
        {
            assert!(bad.parse::<Partition>().is_err(), "{bad}");
        }
        assert_eq!("hash:2/3".parse::<Partition>().unwrap().to_string(), "hash:2/3");
    }
}
