//! Checkpoint of a container through the runtime and CRIU.

use std::path::Path;
use std::time::Duration;

use super::{Daemon, State, lock};
use crate::config::find_program;
use crate::error::{Context as _, Error, Result};
use crate::oci::Runtime;
use crate::util;

impl Daemon {
    /// Writes the state of a running container as a tar archive to `location`; the container goes on. Blocking.
    pub fn checkpoint_container(&self, id: &str, location: &str, limit: i64) -> Result<()> {
        let container = self.container(id)?;
        if container.state() != State::Running {
            return Err(Error::precondition(format!("container {} is not running", container.id)));
        }
        let target = Path::new(location);
        if !target.is_absolute() {
            return Err(Error::invalid(format!("location {location:?} must be an absolute path")));
        }
        if limit < 0 {
            return Err(Error::invalid("timeout must not be negative"));
        }
        if find_program("criu").is_none() {
            return Err(Error::unimplemented(
                "CRIU is not installed on this node; install criu for checkpoints",
            ));
        }
        let pod = self.pod(&container.pod_id())?;
        let mut runtime: Runtime = self.runtime(&pod.handler())?.clone();
        if limit > 0 {
            runtime.limit = Duration::from_secs(limit.unsigned_abs());
        }
        let work = container.dir.join(format!("checkpoint-{}", util::hex(&util::random_bytes::<4>()?)));
        let images = work.join("checkpoint");
        util::make_dir(&images, 0o700)?;
        let result = (|| {
            let (path, logs) = (images.display().to_string(), work.display().to_string());
            runtime
                .call(
                    &container.dir,
                    &["checkpoint", "--leave-running", "--image-path", &path, "--work-path", &logs],
                    &container.id,
                )
                .map_err(|error| error.context("writing a checkpoint with CRIU"))?;
            let record =
                serde_json::to_vec(&*lock(&container.record)).doing("writing the container's record")?;
            util::write_atomic(&work.join("container.json"), &record)?;
            for name in ["config.json", "config.pb"] {
                std::fs::copy(container.dir.join(name), work.join(name))
                    .doing("copying the container's description")?;
            }
            archive(&work, target)
        })();
        let _ = util::remove_dir(&work);
        result
    }
}

fn archive(from: &Path, target: &Path) -> Result<()> {
    let tmp = target.with_extension("partial");
    let file = std::fs::File::create(&tmp).with_path("creating", &tmp)?;
    let mut builder = tar::Builder::new(file);
    let done = builder.append_dir_all(".", from).and_then(|()| builder.finish()).with_path("writing", &tmp);
    if let Err(error) = done {
        let _ = std::fs::remove_file(&tmp);
        return Err(error);
    }
    std::fs::rename(&tmp, target).with_path("renaming into place", target)
}
