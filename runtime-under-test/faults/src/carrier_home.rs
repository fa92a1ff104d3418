//! The caller's mount namespace, remembered by a process that lives in it.

use std::fs;
use std::os::unix::fs::MetadataExt;

/// A process in the caller's mount namespace, identified beyond pid reuse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    /// Its pid.
    pub pid: u32,
    /// Its start time in clock ticks since boot.
    pub started: u64,
}

impl Home {
    /// The parent of this process, when it shares our mount namespace.
    pub fn parent() -> Option<Home> {
        let pid = std::os::unix::process::parent_id();
        let inode = |who: &str| fs::metadata(format!("/proc/{who}/ns/mnt")).ok().map(|m| m.ino());
        if inode("self")? != inode(&pid.to_string())? {
            return None;
        }
        Some(Home { pid, started: start_time(pid)? })
    }

    /// The form that [`Home::from_text`] reads back.
    pub fn to_text(&self) -> String {
        format!("{}:{}", self.pid, self.started)
    }

    /// Reads the text form.
    pub fn from_text(text: &str) -> Option<Home> {
        let (pid, started) = text.split_once(':')?;
        Some(Home { pid: pid.parse().ok()?, started: started.parse().ok()? })
    }

    /// The namespace's file, while the process is still the same one.
    pub fn namespace(&self) -> Option<fs::File> {
        let file = fs::File::open(format!("/proc/{}/ns/mnt", self.pid)).ok()?;
        (start_time(self.pid)? == self.started).then_some(file)
    }
}

fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_found_again_and_another_is_not() {
        let me = Home { pid: std::process::id(), started: start_time(std::process::id()).unwrap() };
        assert_eq!(Home::from_text(&me.to_text()), Some(me.clone()));
        assert!(me.namespace().is_some());
        assert!(Home { started: me.started + 1, ..me }.namespace().is_none());
    }
}
