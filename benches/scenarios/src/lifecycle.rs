//! The timed lifecycles. One that fails any check is a [`Failure`]; it never becomes a sample.

use crate::bundle::{GUEST, Guest};
use crate::slot::{Failure, Pipes, Resident, Sample, Slot, read_pid};
use crate::sys::now_ns;
use crate::sys::process::{self, Ended};
use std::fs;

/// Milliseconds from one stamp to another; negative when the second came first.
fn ms(from: u64, to: u64) -> f64 {
    (to as f64 - from as f64) / 1e6
}

impl Slot {
    /// Creates, starts, awaits and deletes one container whose guest stamps and exits.
    pub fn cold_start(&mut self) -> Result<Sample, Failure> {
        let id = self.next_id();
        let outcome = self.cold_start_as(&id);
        self.after(&id, outcome)
    }

    fn cold_start_as(&mut self, id: &str) -> Result<Sample, Failure> {
        self.reaper.borrow_mut().clear();
        let pipes = Pipes::new().map_err(Failure::io("pipes"))?;
        let pid_file = self.scratch().join("pid");
        let _ = fs::remove_file(&pid_file);
        let (bundle, pid_path) =
            (self.bundle(Guest::Stamp).display().to_string(), pid_file.display().to_string());
        let create = self.command(&["create", "--bundle", &bundle, "--pid-file", &pid_path, id], &pipes)?;
        let start = self.command(&["start", id], &pipes)?;
        let delete = self.command(&["delete", id], &pipes)?;
        let mut first = None;

        let created = self.call("create", &create, &pipes, &mut first)?;
        let started = self.call("start", &start, &pipes, &mut first)?;
        let (exited_ns, code, init_usage) = self.await_init(&pid_file, &pipes, &mut first)?;
        let deleted = self.call("delete", &delete, &pipes, &mut first)?;

        if code.is_some_and(|end| end != Ended::Code(0)) {
            return Err(Failure::new("exit", format!("the guest ended with {code:?} instead of code 0")));
        }
        let output = pipes.output();
        let entry = self.entrypoint(&output, created.asked_ns, first)?;
        self.verify_gone(id)?;
        let mut usage = created.usage.plus(started.usage).plus(deleted.usage).plus(init_usage);
        usage = usage.plus(self.orphan_usage());

        let t0 = created.asked_ns;
        let exit = exited_ns.max(started.ended_ns);
        let mut sample = Sample::default();
        sample.set("start.entrypoint", ms(t0, entry));
        sample.set("start.api", ms(t0, started.ended_ns));
        sample.set("start.gap", ms(started.ended_ns, entry));
        sample.set("start.warm", ms(started.asked_ns, entry));
        if let Some(first) = first {
            sample.set("start.first-output", ms(t0, first));
        }
        sample.set("phase.create", ms(t0, created.ended_ns));
        sample.set("phase.start", ms(started.asked_ns, started.ended_ns));
        sample.set("phase.exit", ms(started.ended_ns, exit));
        sample.set("phase.delete", ms(deleted.asked_ns, deleted.ended_ns));
        sample.set("lifecycle.wall", ms(t0, deleted.ended_ns));
        sample.set("harness.gap", ms(created.ended_ns, started.asked_ns));
        sample.usage(usage);
        Ok(sample)
    }

    /// Runs one container in the foreground: `run` as a single command.
    pub fn run_once(&mut self) -> Result<Sample, Failure> {
        let id = self.next_id();
        let outcome = self.run_as(&id);
        self.after(&id, outcome)
    }

    fn run_as(&mut self, id: &str) -> Result<Sample, Failure> {
        self.reaper.borrow_mut().clear();
        let pipes = Pipes::new().map_err(Failure::io("pipes"))?;
        let bundle = self.bundle(Guest::Stamp).display().to_string();
        let run = self.command(&["run", "--bundle", &bundle, id], &pipes)?;
        let mut first = None;
        let call = self.call("run", &run, &pipes, &mut first)?;
        let entry = self.entrypoint(&pipes.output(), call.asked_ns, first)?;
        self.verify_gone(id)?;
        let mut usage = call.usage;
        usage = usage.plus(self.orphan_usage());
        let mut sample = Sample::default();
        sample.set("run.wall", ms(call.asked_ns, call.ended_ns));
        sample.set("start.entrypoint", ms(call.asked_ns, entry));
        sample.usage(usage);
        Ok(sample)
    }

    /// Creates and starts a container that stays until [`Self::dismiss`].
    pub fn settle(&mut self) -> Result<Sample, Failure> {
        let id = self.next_id();
        let outcome = self.settle_as(&id);
        let (resident, sample) = self.after(&id, outcome)?;
        self.resident = Some(resident);
        Ok(sample)
    }

    fn settle_as(&mut self, id: &str) -> Result<(Resident, Sample), Failure> {
        let pipes = Pipes::new().map_err(Failure::io("pipes"))?;
        let pid_file = self.scratch().join(format!("pid-{id}"));
        let (bundle, pid_path) =
            (self.bundle(Guest::StampPause).display().to_string(), pid_file.display().to_string());
        let create = self.command(&["create", "--bundle", &bundle, "--pid-file", &pid_path, id], &pipes)?;
        let start = self.command(&["start", id], &pipes)?;
        let mut first = None;
        let created = self.call("create", &create, &pipes, &mut first)?;
        let started = self.call("start", &start, &pipes, &mut first)?;
        let init = read_pid(&pid_file)?;
        let _ = fs::remove_file(&pid_file);
        let output = self.await_output(&pipes, &mut first)?;
        let entry = self.entrypoint(&output, created.asked_ns, first)?;
        let mut sample = Sample::default();
        sample.set("start.entrypoint", ms(created.asked_ns, entry));
        sample.set("start.api", ms(created.asked_ns, started.ended_ns));
        sample.set("cpu.lifecycle", created.usage.plus(started.usage).cpu_ms());
        Ok((Resident { id: id.to_owned(), init, pipes }, sample))
    }

    /// Kills and deletes the resident container.
    pub fn dismiss(&mut self) -> Result<(), Failure> {
        let Some(resident) = self.resident.take() else { return Ok(()) };
        let id = resident.id.clone();
        let outcome = self.dismiss_as(&resident);
        self.after(&id, outcome)
    }

    fn dismiss_as(&self, resident: &Resident) -> Result<(), Failure> {
        let pipes = Pipes::new().map_err(Failure::io("pipes"))?;
        let kill = self.command(&["kill", &resident.id, "KILL"], &pipes)?;
        self.call("kill", &kill, &pipes, &mut Some(0))?;
        self.await_pid(resident.init)?;
        let delete = self.command(&["delete", &resident.id], &pipes)?;
        self.call("delete", &delete, &pipes, &mut Some(0))?;
        self.orphan_usage();
        self.verify_gone(&resident.id)
    }

    /// One process executed in the resident container.
    pub fn exec_once(&mut self) -> Result<Sample, Failure> {
        let resident =
            self.resident.as_ref().ok_or_else(|| Failure::new("exec", "no container to execute in"))?;
        self.reaper.borrow_mut().clear();
        let pipes = Pipes::new().map_err(Failure::io("pipes"))?;
        let exec = self.command(&["exec", &resident.id, GUEST, "stamp"], &pipes)?;
        let mut first = None;
        let call = self.call("exec", &exec, &pipes, &mut first)?;
        let entry = self.entrypoint(&pipes.output(), call.asked_ns, first)?;
        let mut usage = call.usage;
        usage = usage.plus(self.orphan_usage());
        let mut sample = Sample::default();
        sample.set("exec.entrypoint", ms(call.asked_ns, entry));
        sample.set("exec.api", ms(call.asked_ns, call.ended_ns));
        sample.usage(usage);
        Ok(sample)
    }

    /// A container is settled, then stopped by SIGTERM; how long until its process ends, and how long until
    /// the runtime says so.
    pub fn stop_once(&mut self) -> Result<Sample, Failure> {
        self.settle()?;
        let Some(resident) = self.resident.take() else {
            return Err(Failure::new("stop", "no container to stop"));
        };
        let outcome = self.stop_as(&resident);
        self.after(&resident.id.clone(), outcome)
    }

    fn stop_as(&mut self, resident: &Resident) -> Result<Sample, Failure> {
        let id = resident.id.as_str();
        self.reaper.borrow_mut().clear();
        let pipes = Pipes::new().map_err(Failure::io("pipes"))?;
        let kill = self.command(&["kill", id, "TERM"], &pipes)?;
        let delete = self.command(&["delete", id], &pipes)?;
        let handle = process::exit_handle(resident.init).map_err(Failure::io("kill"))?;
        let killed = self.call("kill", &kill, &pipes, &mut Some(0))?;
        let deadline = killed.asked_ns + self.timeout.as_nanos() as u64;
        let reaped = self.reaper.borrow().find(resident.init);
        let (ended_ns, code, mut usage) = if let Some(orphan) = reaped {
            (orphan.at_ns, Some(orphan.ended), killed.usage)
        } else {
            let seen =
                process::await_exit(&handle, None, &mut Some(0), deadline).map_err(Failure::io("wait"))?;
            let at = seen.ok_or_else(|| Failure::new("kill", "SIGTERM did not end the container"))?;
            match process::collect(resident.init) {
                Ok(Some((_, end, usage))) => (at, Some(end), usage.plus(killed.usage)),
                _ => (at, None, killed.usage),
            }
        };
        let told_ns = self.await_stopped(id, ended_ns, deadline)?;
        let deleted = self.call("delete", &delete, &pipes, &mut Some(0))?;
        usage = usage.plus(deleted.usage);
        if code.is_some_and(|end| end != Ended::Code(0)) {
            return Err(Failure::new(
                "exit",
                format!("the guest ended with {code:?} instead of code 0 at SIGTERM"),
            ));
        }
        self.verify_gone(id)?;
        usage = usage.plus(self.orphan_usage());
        let mut sample = Sample::default();
        sample.set("stop.latency", ms(killed.asked_ns, ended_ns));
        sample.set("exit.detect", ms(ended_ns, told_ns));
        sample.set("phase.delete", ms(deleted.asked_ns, deleted.ended_ns));
        sample.usage(usage);
        Ok(sample)
    }

    /// Asks `state` until it says stopped.
    fn await_stopped(&self, id: &str, from_ns: u64, deadline: u64) -> Result<u64, Failure> {
        let mut said = String::from("nothing");
        while now_ns() < deadline {
            let pipes = Pipes::new().map_err(Failure::io("pipes"))?;
            let state = self.command(&["state", id], &pipes)?;
            let call = self.call("state", &state, &pipes, &mut Some(0))?;
            let answer: serde_json::Value = serde_json::from_str(&pipes.output())
                .map_err(|e| Failure::new("state", format!("its output is not JSON: {e}")))?;
            answer["status"].as_str().unwrap_or("(no status)").clone_into(&mut said);
            if said == "stopped" {
                return Ok(call.ended_ns.max(from_ns));
            }
        }
        Err(Failure::new("state", format!("still says `{said}` after the container's process ended")))
    }
}
