//! Which share of the plan runs here: from the flag, or from what CI systems and Kubernetes set.

use crate::usage::Failure;
use plimsoll_engine::{Cut, Partition, Timings};
use std::sync::Arc;

/// Where a share's number and the count stand.
struct Known {
    index: &'static str,
    count: &'static str,
    /// The number of the first share there.
    first: u32,
}

const KNOWN: [Known; 4] = [
    // Kubernetes sets the index only; the manifest of the job has to give the count.
    Known { index: "JOB_COMPLETION_INDEX", count: "JOB_COMPLETIONS", first: 0 },
    Known { index: "CI_NODE_INDEX", count: "CI_NODE_TOTAL", first: 1 },
    Known { index: "BUILDKITE_PARALLEL_JOB", count: "BUILDKITE_PARALLEL_JOB_COUNT", first: 0 },
    Known { index: "CIRCLE_NODE_INDEX", count: "CIRCLE_NODE_TOTAL", first: 0 },
];

/// Reads a share; `environment` looks a variable up.
pub fn read(
    text: &str,
    timings: Option<Timings>,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Partition, Failure> {
    let bad =
        |why: String| Failure::usage(why).hint("examples: slice:1/3, hash:1/3, 1/3 with --balance, auto");
    if text.starts_with("slice:") || text.starts_with("hash:") {
        if timings.is_some() {
            return Err(bad(format!("`{text}` says how to cut, so --balance has no use")));
        }
        return text.parse().map_err(bad);
    }
    let (index, of) = if text == "auto" {
        automatic(environment)?
    } else {
        let share = text.split_once('/').and_then(|(m, n)| Some((m.parse().ok()?, n.parse().ok()?)));
        share.ok_or_else(|| bad(format!("`{text}` is no partition")))?
    };
    let cut = timings.map_or(Cut::Hash, |t| Cut::Balanced(Arc::new(t)));
    Partition::new(cut, index, of).map_err(bad)
}

/// Number, from 1, and count. Half a setting is an error: a share that runs everything would count twice.
fn automatic(environment: &dyn Fn(&str) -> Option<String>) -> Result<(u32, u32), Failure> {
    for known in &KNOWN {
        let Some(index) = environment(known.index) else { continue };
        let count = environment(known.count).ok_or_else(|| {
            Failure::usage(format!("{} is set, {} is not", known.index, known.count))
                .hint("set it to the number of shares")
        })?;
        let number = |name: &str, text: &str| {
            text.parse::<u32>().map_err(|_| Failure::usage(format!("{name} is `{text}`, which is no number")))
        };
        let (index, count) = (number(known.index, &index)?, number(known.count, &count)?);
        let index =
            index.checked_add(1).and_then(|i| i.checked_sub(known.first)).filter(|i| (1..=count).contains(i));
        return index.map(|i| (i, count)).ok_or_else(|| {
            Failure::usage(format!("{} is outside of {}, which is {count}", known.index, known.count))
        });
    }
    let names: Vec<&str> = KNOWN.iter().map(|k| k.index).collect();
    Err(Failure::usage("--partition auto finds no variable that names a share")
        .hint(format!("known: {}", names.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::read;
    use plimsoll_engine::Timings;

    fn share(text: &str, timings: Option<Timings>, set: &[(&str, &str)]) -> Result<String, String> {
        let lookup = |name: &str| set.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        read(text, timings, &lookup).map(|p| p.to_string()).map_err(|f| f.what)
    }

    #[test]
    fn every_system_counts_its_own_way() {
        for (set, want) in [
            ([("JOB_COMPLETION_INDEX", "0"), ("JOB_COMPLETIONS", "3")], "hash:1/3"),
            ([("CI_NODE_INDEX", "3"), ("CI_NODE_TOTAL", "3")], "hash:3/3"),
            ([("BUILDKITE_PARALLEL_JOB", "2"), ("BUILDKITE_PARALLEL_JOB_COUNT", "3")], "hash:3/3"),
            ([("CIRCLE_NODE_INDEX", "1"), ("CIRCLE_NODE_TOTAL", "3")], "hash:2/3"),
        ] {
            assert_eq!(share("auto", None, &set).unwrap(), want);
        }
    }

    #[test]
    fn half_settings_and_nonsense_are_errors() {
        for set in [
            vec![],
            vec![("JOB_COMPLETION_INDEX", "0")],
            vec![("JOB_COMPLETION_INDEX", "3"), ("JOB_COMPLETIONS", "3")],
            vec![("CI_NODE_INDEX", "0"), ("CI_NODE_TOTAL", "3")],
            vec![("CI_NODE_INDEX", "x"), ("CI_NODE_TOTAL", "3")],
            vec![("CI_NODE_INDEX", "4294967295"), ("CI_NODE_TOTAL", "3")],
        ] {
            assert!(share("auto", None, &set).is_err(), "{set:?}");
        }
        for text in ["", "1", "0/3", "4/3", "a/b", "x:1/2"] {
            assert!(share(text, None, &[]).is_err(), "{text}");
        }
    }

    #[test]
    fn timings_balance_what_does_not_say_how_to_cut() {
        let timings = || Some(Timings::default());
        assert!(share("2/3", timings(), &[]).unwrap().starts_with("balanced-"));
        assert_eq!(share("2/3", None, &[]).unwrap(), "hash:2/3");
        assert!(share("slice:2/3", timings(), &[]).unwrap_err().contains("--balance"));
    }
}
