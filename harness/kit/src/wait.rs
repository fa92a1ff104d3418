//! Waiting for a condition, never for a time.

use crate::stop::Stop;
use std::time::{Duration, Instant};

/// What a condition says when asked.
pub enum Poll<T> {
    /// It holds; the value goes to the caller.
    Ready(T),
    /// Not yet; the text is the last thing seen and stands in the failure.
    NotYet(String),
}

/// Asks `condition` until it is ready or `limit` has passed; the interval grows from 0.5 ms to 20 ms.
/// Past the limit: a violation that says what was waited for and what was seen last.
pub async fn wait_until<T>(
    what: &str,
    limit: Duration,
    mut condition: impl AsyncFnMut() -> Result<Poll<T>, Stop>,
) -> Result<T, Stop> {
    let start = Instant::now();
    let mut pause = Duration::from_micros(500);
    loop {
        let last = match condition().await? {
            Poll::Ready(value) => return Ok(value),
            Poll::NotYet(last) => last,
        };
        if start.elapsed() >= limit {
            return Err(Stop::violation(
                format!("{what} within {} s", limit.as_secs_f32()),
                format!("not so; last seen: {last}"),
            ));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}
