//! Open-loop load: arrivals that do not wait for the system, and the search for the highest rate it bears.
//!
//! Latency counts from the *intended* start. A generator that waits for a slow reply before it sends the
//! next request leaves out exactly the requests that would have suffered (coordinated omission).

use crate::rng::Rng;
use crate::{StatsError, open_interval};
use serde::{Deserialize, Serialize};

/// The shape of the arrivals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arrivals {
    /// One every 1/λ.
    Constant,
    /// Independent of each other, on average one every 1/λ.
    Poisson,
}

/// Intended starts, in nanoseconds from the beginning of the load, for `count` arrivals at `rate` per second.
pub fn intended_starts(
    arrivals: Arrivals,
    rate: f64,
    count: usize,
    rng: &mut Rng,
) -> Result<Vec<u64>, StatsError> {
    open_interval("arrival rate", rate, 0.0, f64::INFINITY, "> 0")?;
    let gap = 1e9 / rate;
    let mut at = 0.0;
    Ok((0..count)
        .map(|i| match arrivals {
            Arrivals::Constant => (gap * i as f64) as u64,
            Arrivals::Poisson => {
                at += gap * rng.exponential();
                at as u64
            }
        })
        .collect())
}

/// One request of an open-loop trial; nanoseconds from the beginning of the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// When it should have started.
    pub intended_ns: u64,
    /// When it did.
    pub started_ns: u64,
    /// When it was done.
    pub done_ns: u64,
    /// Whether it did what was asked.
    pub ok: bool,
}

impl Request {
    /// Latency as the requester feels it, from the intended start.
    pub const fn latency_ns(&self) -> u64 {
        self.done_ns.saturating_sub(self.intended_ns)
    }
}

/// What a rate must keep to count as borne.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Objective {
    /// Which quantile of the latency is bounded.
    pub quantile: f64,
    /// The bound, in nanoseconds.
    pub limit_ns: u64,
}

/// Why a rate was not borne.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Broken {
    /// At least one request failed.
    Failures,
    /// The latency quantile is above the bound.
    Latency,
    /// Requests start later and later: the queue would grow without end.
    Backlog,
    /// Nothing was measured.
    Empty,
}

/// Judges one trial: `Ok` with the latency quantile in nanoseconds, or what was broken.
///
/// A failure breaks the objective: a rate at which starts fail is not a rate the system bears. The backlog
/// grows when the last third of the requests starts later than the first third by more than half the bound.
pub fn judge(requests: &[Request], objective: Objective) -> Result<u64, Broken> {
    if requests.is_empty() {
        return Err(Broken::Empty);
    }
    if requests.iter().any(|r| !r.ok) {
        return Err(Broken::Failures);
    }
    let mut latencies: Vec<u64> = requests.iter().map(Request::latency_ns).collect();
    latencies.sort_unstable();
    let rank = (objective.quantile.clamp(0.0, 1.0) * latencies.len() as f64).ceil() as usize;
    let reached = latencies[rank.clamp(1, latencies.len()) - 1];
    if reached > objective.limit_ns {
        return Err(Broken::Latency);
    }
    let third = requests.len() / 3;
    if third >= 3 {
        let lag = |part: &[Request]| {
            part.iter().map(|r| r.started_ns.saturating_sub(r.intended_ns) as f64).sum::<f64>()
                / part.len() as f64
        };
        let growth = lag(&requests[requests.len() - third..]) - lag(&requests[..third]);
        if growth > objective.limit_ns as f64 / 2.0 {
            return Err(Broken::Backlog);
        }
    }
    Ok(reached)
}

/// The search for the highest rate: doubling until a trial fails, then bisection.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RateSearch {
    low: Option<f64>,
    high: Option<f64>,
    next: f64,
    tolerance: f64,
    trials_left: u32,
}

impl RateSearch {
    /// Starts at `first` requests per second and stops when the bracket is narrower than `tolerance`
    /// (a fraction of its upper end) or after `max_trials`.
    pub fn new(first: f64, tolerance: f64, max_trials: u32) -> Result<Self, StatsError> {
        open_interval("rate search: first rate", first, 0.0, f64::INFINITY, "> 0")?;
        open_interval("rate search: tolerance", tolerance, 0.0, 1.0, "0 < tolerance < 1")?;
        Ok(Self { low: None, high: None, next: first, tolerance, trials_left: max_trials })
    }

    /// The rate to try next; `None` when the search is over.
    pub fn next_rate(&self) -> Option<f64> {
        let narrow = matches!((self.low, self.high), (Some(l), Some(h)) if h - l <= self.tolerance * h);
        (self.trials_left > 0 && !narrow).then_some(self.next)
    }

    /// Records whether the rate given by [`Self::next_rate`] was borne.
    pub fn record(&mut self, borne: bool) {
        if borne {
            self.low = Some(self.next);
        } else {
            self.high = Some(self.next);
        }
        self.trials_left = self.trials_left.saturating_sub(1);
        self.next = match (self.low, self.high) {
            (Some(low), None) => low * 2.0,
            (None, Some(high)) => high / 2.0,
            (Some(low), Some(high)) => f64::midpoint(low, high),
            (None, None) => self.next,
        };
    }

    /// The highest rate shown to be borne so far.
    pub const fn borne(&self) -> Option<f64> {
        self.low
    }

    /// The lowest rate shown not to be.
    pub const fn broken(&self) -> Option<f64> {
        self.high
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use proptest::prelude::*;

    /// A single server with a fixed service time, fed by the arrivals.
    fn serve(starts: &[u64], service_ns: u64) -> Vec<Request> {
        let mut free = 0;
        starts
            .iter()
            .map(|&intended_ns| {
                let started_ns = intended_ns.max(free);
                free = started_ns + service_ns;
                Request { intended_ns, started_ns, done_ns: free, ok: true }
            })
            .collect()
    }

    #[test]
    fn finds_the_capacity_of_a_single_server() {
        // Service 10 ms: 100 per second at most; p99 within 50 ms.
        let objective = Objective { quantile: 0.99, limit_ns: 50_000_000 };
        let mut search = RateSearch::new(10.0, 0.02, 30).unwrap();
        while let Some(rate) = search.next_rate() {
            let starts = intended_starts(Arrivals::Constant, rate, 1_000, &mut Rng::new(1)).unwrap();
            search.record(judge(&serve(&starts, 10_000_000), objective).is_ok());
        }
        let found = search.borne().unwrap();
        assert!((95.0..=101.0).contains(&found), "{found}");
        assert!(search.broken().unwrap() > found);
    }

    #[test]
    fn latency_counts_the_waiting() {
        let late = Request { intended_ns: 10, started_ns: 500, done_ns: 600, ok: true };
        assert_eq!(late.latency_ns(), 590);
    }

    #[test]
    fn each_way_of_breaking_is_named() {
        let objective = Objective { quantile: 0.5, limit_ns: 100 };
        let at =
            |i: u64, lag: u64, ok| Request { intended_ns: i, started_ns: i + lag, done_ns: i + lag + 10, ok };
        assert_eq!(judge(&[], objective), Err(Broken::Empty));
        assert_eq!(judge(&[at(0, 0, false)], objective), Err(Broken::Failures));
        assert_eq!(judge(&[at(0, 200, true)], objective), Err(Broken::Latency));
        let growing: Vec<Request> = (0..12).map(|i| at(i * 1_000, 8 * i, true)).collect();
        assert_eq!(judge(&growing, objective), Err(Broken::Backlog));
        assert_eq!(judge(&[at(0, 0, true)], objective), Ok(10));
    }

    #[test]
    fn poisson_arrivals_have_the_rate_asked_for() {
        let starts = intended_starts(Arrivals::Poisson, 200.0, 20_000, &mut Rng::new(2)).unwrap();
        let seconds = *starts.last().unwrap() as f64 / 1e9;
        assert!((20_000.0 / seconds - 200.0).abs() < 6.0);
        assert!(starts.is_sorted());
        assert!(intended_starts(Arrivals::Poisson, 0.0, 1, &mut Rng::new(2)).is_err());
    }

    #[test]
    fn a_system_that_bears_nothing_ends_the_search() {
        let mut search = RateSearch::new(10.0, 0.02, 8).unwrap();
        let mut trials = 0;
        while search.next_rate().is_some() {
            search.record(false);
            trials += 1;
        }
        assert_eq!((trials, search.borne()), (8, None));
    }

    proptest! {
        #[test]
        fn the_search_brackets_any_threshold(limit in 1.0..5_000.0_f64, first in 1.0..100.0_f64) {
            let mut search = RateSearch::new(first, 0.05, 60).unwrap();
            while let Some(rate) = search.next_rate() {
                search.record(rate <= limit);
            }
            let (low, high) = (search.borne().unwrap(), search.broken().unwrap());
            prop_assert!(low <= limit && limit < high && high - low <= 0.05 * high);
        }
    }
}
