//! Work in pods that are there: exec, logs, images, and the overhead inside.

use super::images::{pull, remove};
use super::link::failure;
use super::pod::{GUEST, Pod, Ready};
use super::start::{Span, ms, timed};
use crate::bundle::INSIDE;
use crate::inside;
use crate::slot::{Failure, Sample};
use crate::sys::now_ns;
use plimsoll_cri_client::stream::Finish;
use plimsoll_cri_client::stream::exec::{Protocol, Session, Streams};
use plimsoll_cri_client::v1;
use serde_json::json;
use std::path::Path;
use std::time::Duration;

/// Most output of an exec that is taken.
const MOST: usize = 1 << 20;
/// Bytes of one line of the log scenario, its end included.
const LINE: usize = 128;

impl Pod {
    async fn exec_words(&self, ready: &Ready, words: &[&str]) -> Result<(Span, String), Failure> {
        let request = v1::ExecSyncRequest {
            container_id: self.resident()?.container,
            cmd: words.iter().map(|w| (*w).to_owned()).collect(),
            timeout: i64::try_from(self.timeout.as_secs()).unwrap_or(20),
        };
        let (span, answer) = timed("ExecSync", ready.link.client.exec_sync(request)).await?;
        if answer.exit_code != 0 {
            let said: String = String::from_utf8_lossy(&answer.stderr).chars().take(300).collect();
            return Err(Failure::new("ExecSync", format!("exit code {}: {said}", answer.exit_code)));
        }
        Ok((span, String::from_utf8_lossy(&answer.stdout).into_owned()))
    }

    /// `ExecSync` of the stamp.
    pub(super) async fn exec(&mut self, ready: &Ready) -> Result<Sample, Failure> {
        let (span, output) = self.exec_words(ready, &[GUEST, "stamp"]).await?;
        // Without a common clock the answer is the arrival.
        let entry = self.entrypoint(&output, span.asked, Some(span.ended))?;
        let mut sample = Sample::default();
        sample.set("exec.entrypoint", ms(span.asked, entry));
        sample.set("exec.api", span.ms());
        Ok(sample)
    }

    /// The same through the streaming server.
    pub(super) async fn exec_stream(&mut self, ready: &Ready) -> Result<Sample, Failure> {
        let request = v1::ExecRequest {
            container_id: self.resident()?.container,
            cmd: vec![GUEST.to_owned(), "stamp".to_owned()],
            stdout: true,
            stderr: true,
            ..Default::default()
        };
        let streams = Streams { stdout: true, stderr: true, ..Streams::default() };
        let stream =
            |error: plimsoll_cri_client::stream::StreamError| Failure::new("stream", error.to_string());
        let (span, answer) = timed("Exec", ready.link.client.exec(request)).await?;
        let mut session =
            Session::open(&answer.url, Protocol::SPDY, streams, self.timeout).await.map_err(stream)?;
        let opened = now_ns();
        let output = session.gather(self.timeout, MOST).await.map_err(stream)?;
        let ended = now_ns();
        if !matches!(output.finish, Some(Finish::Success)) {
            return Err(Failure::new("stream", format!("it ended with {:?}", output.finish)));
        }
        let entry = self.entrypoint(&String::from_utf8_lossy(&output.stdout), span.asked, Some(ended))?;
        let mut sample = Sample::default();
        sample.set("exec.entrypoint", ms(span.asked, entry));
        sample.set("exec.api", ms(span.asked, ended));
        sample.set("stream.open", ms(span.asked, opened));
        Ok(sample)
    }

    /// A container that writes numbered lines; all of them have to be in its log, in order.
    pub(super) async fn log(&mut self, ready: &Ready) -> Result<Sample, Failure> {
        let total = self.home.images.log_bytes / LINE * LINE;
        let script = plimsoll_kit::probe::script()
            .act("flood", json!({ "bytes": total, "line_len": LINE }))
            .text("bench", Some("/dev/null"));
        let name = self.next_name();
        let config = self.container_config(&ready.image, &name, &[GUEST, &script]);
        let resident = self.resident()?;
        let client = &ready.link.client;
        let create = v1::CreateContainerRequest {
            pod_sandbox_id: resident.pod.clone(),
            config: Some(config),
            sandbox_config: Some(resident.config.clone()),
        };
        let id = client.create_container(create).await.map_err(failure("CreateContainer"))?.container_id;
        let start = v1::StartContainerRequest { container_id: id.clone() };
        let (start, _) = timed("StartContainer", client.start_container(start)).await?;
        self.await_exit(ready, &id, 0).await?;
        let log = Path::new(&resident.config.log_directory).join(format!("{name}.log"));
        let complete = self.await_lines(&log, total / LINE).await?;
        let remove = v1::RemoveContainerRequest { container_id: id };
        client.remove_container(remove).await.map_err(failure("RemoveContainer"))?;
        let _ = std::fs::remove_file(log);
        let wall = ms(start.asked, complete);
        let mut sample = Sample::default();
        sample.set("log.wall", wall);
        sample.set("log.rate", total as f64 / 1e6 / (wall / 1e3));
        Ok(sample)
    }

    /// When the log had every line, ns. Lines that are lost, cut or out of order are a failure.
    async fn await_lines(&self, log: &Path, count: usize) -> Result<u64, Failure> {
        // What was written before the exit may still be on its way; what has not come by then is lost.
        let deadline = now_ns() + Duration::from_secs(5).as_nanos() as u64;
        loop {
            let seen = now_ns();
            let bytes = std::fs::read(log).map_err(Failure::io("log"))?;
            let ends = bytes.split(|b| *b == b'\n').count() - 1;
            if ends >= count {
                return numbered(&bytes, count).map(|()| seen);
            }
            if seen > deadline {
                return Err(Failure::new("log", format!("{} of {count} lines are lost", count - ends)));
            }
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
    }

    /// A fresh image: pulled, its layers again under another name, started, removed.
    pub(super) async fn pull(&mut self, ready: &Ready) -> Result<Sample, Failure> {
        let fresh = self.home.images.fresh();
        let outcome = self.pull_fresh(ready, &fresh.reference, &fresh.twin, fresh.bytes).await;
        if outcome.is_err() {
            for reference in [&fresh.reference, &fresh.twin] {
                let _ = remove(&ready.link, reference).await;
            }
        }
        self.home.images.forget(&fresh);
        outcome
    }

    async fn pull_fresh(
        &mut self,
        ready: &Ready,
        reference: &str,
        twin: &str,
        bytes: usize,
    ) -> Result<Sample, Failure> {
        let (pulled, ()) = timed("PullImage", pull(&ready.link, reference)).await?;
        let (again, ()) = timed("PullImage", pull(&ready.link, twin)).await?;
        let start = self.cold_start_of(ready, reference).await?;
        let (first, ()) = timed("RemoveImage", remove(&ready.link, twin)).await?;
        let (last, ()) = timed("RemoveImage", remove(&ready.link, reference)).await?;
        let mut sample = Sample::default();
        sample.set("image.pull", pulled.ms());
        sample.set("image.rate", bytes as f64 / 1e6 / (pulled.ms() / 1e3));
        sample.set("image.again", again.ms());
        if let Some(value) = start.get("start.entrypoint") {
            sample.set("image.first-start", value);
        }
        sample.set("image.remove", first.ms() + last.ms());
        Ok(sample)
    }

    /// The work inside, natively and in the resident container.
    pub(super) async fn inside(&mut self, ready: &Ready) -> Result<Sample, Failure> {
        let native = self.home.root.join(INSIDE.trim_start_matches('/'));
        let command = tokio::process::Command::new(&native)
            .arg("inside")
            .arg(self.home.root.join("tmp"))
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(self.timeout, command)
            .await
            .map_err(|_| Failure::new("native", "no end within the deadline"))?
            .map_err(Failure::io("native"))?;
        let outside = inside::report(&String::from_utf8_lossy(&output.stdout))?;
        let (_, said) = self.exec_words(ready, &[INSIDE, "inside", "/tmp"]).await?;
        Ok(inside::sample(&inside::report(&said)?, &outside))
    }
}

/// Whether the log holds exactly the lines 0 to `count`, each whole. Long lines may come in parts.
fn numbered(bytes: &[u8], count: usize) -> Result<(), Failure> {
    let lines =
        plimsoll_kit::cri::parse_log(bytes).map_err(|stop| Failure::new("log", format!("{stop:?}")))?;
    let mut at = 0;
    let mut whole: Vec<u8> = Vec::new();
    for line in lines {
        whole.extend_from_slice(&line.content);
        if !line.full {
            continue;
        }
        let number = whole.get(..12).and_then(|n| std::str::from_utf8(n).ok()?.parse::<usize>().ok());
        if number != Some(at) || whole.len() != LINE - 1 {
            let seen: String = String::from_utf8_lossy(&whole).chars().take(40).collect();
            return Err(Failure::new("log", format!("line {at} is `{seen}`, {} bytes", whole.len())));
        }
        at += 1;
        whole.clear();
    }
    if at == count && whole.is_empty() {
        Ok(())
    } else {
        Err(Failure::new("log", format!("{at} whole lines instead of {count}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(numbers: &[usize]) -> Vec<u8> {
        let line = |n: &usize| {
            let text = format!("{n:012} ");
            let fill = "x".repeat(LINE - 1 - text.len());
            format!("2026-01-01T00:00:00.000000001Z stdout F {text}{fill}\n")
        };
        numbers.iter().map(line).collect::<String>().into_bytes()
    }

    #[test]
    fn only_all_lines_in_order_are_complete() {
        assert!(numbered(&log(&[0, 1, 2]), 3).is_ok());
        for bad in [&[0, 2, 1][..], &[0, 1], &[0, 1, 1], &[1, 2, 3]] {
            assert!(numbered(&log(bad), 3).is_err(), "{bad:?}");
        }
        let mut cut = log(&[0, 1, 2]);
        cut.remove(60);
        assert!(numbered(&cut, 3).is_err());
    }
}
