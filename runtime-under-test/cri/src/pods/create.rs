//! `CreateContainer`: from a request to a created OCI container.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::sync::watch;

use super::events::Kind;
use super::{
    Container, ContainerRecord, Daemon, Pod, State, cdi, container_name, lock, log_place, mounts, rootfs,
    sandbox, user, write_message,
};
use crate::api::{ContainerConfig, LinuxContainerSecurityContext, NamespaceMode};
use crate::error::{Context as _, Error, Result};
use crate::images::store::Resolved;
use crate::monitor::client;
use crate::monitor::proto::{CreateRequest, Request};
use crate::oci::{resources, short_socket, signal, spec};
use crate::util::{self, now_ns};

/// What was prepared on the host for a container.
struct Prepared {
    spec: Value,
    user: user::User,
    image_volumes: BTreeMap<String, String>,
}

impl Daemon {
    /// Creates a container. Blocking. A failed create leaves nothing (`container.create.failed-leaves-nothing`).
    pub fn create_container(&self, pod_id: &str, config: ContainerConfig) -> Result<String> {
        let pod = self.pod(pod_id)?;
        let name = container_name(&pod.id, &config)?;
        if !pod.ready() {
            return Err(Error::precondition(format!("sandbox {} is not ready", pod.id)));
        }
        let image_name = config.image.as_ref().map(|i| i.image.clone()).unwrap_or_default();
        if image_name.is_empty() {
            return Err(Error::invalid("config.image.image is empty"));
        }
        if config.stop_signal != 0 && signal::from_cri(config.stop_signal).is_none() {
            return Err(Error::invalid(format!(
                "stop_signal {} is no signal of the interface",
                config.stop_signal
            )));
        }
        let image = self.images.resolve(&image_name)?;
        self.check_container(&pod, &config)?;
        let place = log_place(&pod.config, &config)?;
        let id = util::new_id()?;
        self.reserve(&name, &id)?;
        let wanted = config.linux.as_ref().and_then(|l| l.resources.clone()).unwrap_or_default();
        let container = Arc::new(Container {
            id: id.clone(),
            dir: self.containers_dir().join(&id),
            log_path: place
                .as_ref()
                .map_or(String::new(), |(dir, path)| dir.join(path).display().to_string()),
            record: Mutex::new(ContainerRecord {
                pod: pod.id.clone(),
                created_at: now_ns(),
                image_id: image.record.id.clone(),
                chains: image.chains.clone(),
                cgroup: format!("{}/{id}", lock(&pod.record).cgroup_parent),
                stop_signal: stop_signal(&config, &image),
                ..Default::default()
            }),
            resources: Mutex::new(wanted),
            exit: watch::Sender::new(None),
            told: Mutex::new(false),
            operation: tokio::sync::Mutex::new(()),
            config,
        });
        self.images.hold(&id, &image.chains);
        let result = self.make(&pod, &container, &image, place.as_ref());
        if let Err(error) = result {
            self.scrap(&container);
            return Err(error);
        }
        lock(&self.table).containers.insert(id.clone(), Arc::clone(&container));
        // The sandbox may have been stopped meanwhile: then this container must not stay.
        if !pod.ready() {
            lock(&self.table).containers.remove(&id);
            self.scrap(&container);
            return Err(Error::precondition(format!("sandbox {} was stopped", pod.id)));
        }
        self.announce(&pod, &id, Kind::Created);
        Ok(id)
    }

    fn make(
        &self,
        pod: &Pod,
        container: &Arc<Container>,
        image: &Resolved,
        place: Option<&(PathBuf, PathBuf)>,
    ) -> Result<()> {
        util::make_dir(&container.dir, 0o711)?;
        write_message(&container.dir.join("config.pb"), &container.config)?;
        container.save()?;
        let prepared = self.prepare(pod, container, image)?;
        util::write_atomic(
            &container.dir.join("config.json"),
            &serde_json::to_vec(&prepared.spec).doing("writing config.json")?,
        )?;
        let log = place.cloned();
        if let Some((dir, path)) = place
            && let Some(parent) = dir.join(path).parent()
        {
            util::make_dir(parent, 0o755)?;
        }
        let console = container.config.tty.then(|| short_socket(&self.config.state, 'c', &container.id));
        let runtime = self.runtime(&pod.handler())?;
        let group = lock(&container.record).cgroup.clone();
        let request = CreateRequest {
            id: container.id.clone(),
            argv: runtime.create_argv(&container.id, &container.dir, console.as_deref()),
            dir: container.dir.clone(),
            console,
            stdin: container.config.stdin,
            stdin_once: container.config.stdin_once,
            log,
            cgroup: Some(self.cgroups.processes(&group)),
            oom_file: Some(self.cgroups.oom_file(&group)),
        };
        let fresh_log = place.map(|(dir, path)| dir.join(path)).filter(|p| !p.exists());
        let reply = client::ask(&pod.socket, &Request::Create(request), runtime.limit).map_err(|error| {
            if let Some(path) = &fresh_log {
                let _ = std::fs::remove_file(path);
            }
            error.context("creating the container")
        })?;
        let mut record = lock(&container.record);
        record.pid = reply.pid.unwrap_or(0);
        record.user = (prepared.user.uid, prepared.user.gid, prepared.user.groups);
        record.image_volumes = prepared.image_volumes;
        record.complete = true;
        drop(record);
        container.save()
    }

    /// Root, mounts, devices, user and the spec.
    fn prepare(&self, pod: &Pod, container: &Container, image: &Resolved) -> Result<Prepared> {
        let config = &container.config;
        let context = spec::security(config);
        let userns = self.userns_of(pod)?;
        let root = rootfs::mount(
            &container.dir,
            &self.layer_dir(&container.id),
            &image.lowers,
            userns.as_ref().map(|(fd, id)| (fd, *id)),
        )?;
        let user = user::find(&root, &image.config.config.user, context)?;
        let owner =
            userns.as_ref().map_or((user.uid, user.gid), |(_, base)| (user.uid + base, user.gid + base));
        let cwd = [&config.working_dir, &image.config.config.working_dir].into_iter().find(|d| !d.is_empty());
        if let Some(cwd) = cwd {
            rootfs::ensure_dir(&root, cwd, owner)?;
        }
        let mut image_volumes = BTreeMap::new();
        let mut all = self.standard_mounts(pod, config, context)?;
        for (at, mount) in config.mounts.iter().enumerate() {
            let source = match mount.image.as_ref().filter(|i| !i.image.is_empty()) {
                Some(wanted) => {
                    let volume = self.images.resolve(&wanted.image)?;
                    image_volumes.insert(mount.container_path.clone(), volume.record.id.clone());
                    self.images.hold(&format!("{}/{at}", container.id), &volume.chains);
                    let base = rootfs::mount_image(
                        &container.dir,
                        at,
                        &volume.lowers,
                        userns.as_ref().map(|(fd, _)| fd),
                    )?;
                    rootfs::sub_path(&base, &mount.image_sub_path)?
                }
                None => self.host_volume(container, at, mount, userns.as_ref())?,
            };
            all.push(mounts::bind(mount, &source));
        }
        let (mut devices, mut rules) = mounts::devices(&config.devices, context.privileged)?;
        let edits = cdi::inject(&self.config.cdi_dirs, &config.cdi_devices)?;
        all.extend(edits.mounts);
        devices.extend(edits.nodes);
        rules.extend(edits.rules);
        mounts::sort(&mut all);
        let target = self.target_pid(pod, context)?;
        let mut document = spec::build(&spec::Input {
            config,
            pod: &pod.config,
            image: &image.config.config,
            user: &user,
            hostname: &sandbox::hostname(&pod.config),
            rootfs: root.display().to_string(),
            mounts: all,
            propagation: mounts::root_propagation(&config.mounts),
            devices,
            device_rules: rules,
            extra_env: edits.env,
            pause: pod.pause(),
            target,
            cgroup: lock(&container.record).cgroup.clone(),
            v2: self.cgroups.v2,
            pids: self.config.pids_limit,
        })?;
        if !edits.hooks.is_null() {
            document["hooks"] = edits.hooks;
        }
        Ok(Prepared { spec: document, user, image_volumes })
    }

    fn standard_mounts(
        &self,
        pod: &Pod,
        config: &ContainerConfig,
        context: &LinuxContainerSecurityContext,
    ) -> Result<Vec<Value>> {
        let options = sandbox::options(&pod.config);
        let node = NamespaceMode::Node as i32;
        let rro = self.runtime(&pod.handler())?.rro;
        for mount in &config.mounts {
            mounts::check(mount, rro)?;
        }
        let pid = context.namespace_options.as_ref().map_or(options.pid, |o| o.pid);
        let place = mounts::Place {
            pod_dir: &pod.dir,
            privileged: context.privileged,
            readonly: context.readonly_rootfs,
            host_network: options.network == node,
            host_ipc: options.ipc == node,
            host_pid: pid == node,
            userns: options.userns_options.as_ref().is_some_and(|u| u.mode == NamespaceMode::Pod as i32),
        };
        Ok(mounts::standard(&place, config))
    }

    /// A host path, seen through the pod's user namespace where the mount has id mappings.
    fn host_volume(
        &self,
        container: &Container,
        at: usize,
        mount: &crate::api::Mount,
        userns: Option<&(OwnedFd, u32)>,
    ) -> Result<PathBuf> {
        let source = mounts::host_source(mount)?;
        if mount.uid_mappings.is_empty() && mount.gid_mappings.is_empty() {
            return Ok(source);
        }
        let Some((namespace, _)) = userns else {
            return Err(Error::invalid(format!(
                "mount {}: id mappings need a pod with a user namespace",
                mount.container_path
            )));
        };
        let point = container.dir.join(format!("volume{at}"));
        if source.is_dir() {
            util::make_dir(&point, 0o755)?;
        } else {
            std::fs::write(&point, "").with_path("creating", &point)?;
        }
        rootfs::idmapped_bind(&source, &point, namespace)?;
        Ok(point)
    }

    /// The pod's user namespace and the host id of its root.
    fn userns_of(&self, pod: &Pod) -> Result<Option<(OwnedFd, u32)>> {
        let options = sandbox::options(&pod.config);
        let Some(userns) = options.userns_options.filter(|u| u.mode == NamespaceMode::Pod as i32) else {
            return Ok(None);
        };
        let root = userns.uids.first().map_or(0, |m| m.host_id);
        Ok(Some((rootfs::open_userns(pod.pause())?, root)))
    }

    /// The container whose pid namespace is to be joined (`container.ns.pid-target*`).
    fn target_pid(&self, pod: &Pod, context: &LinuxContainerSecurityContext) -> Result<Option<i32>> {
        let options = context.namespace_options.clone().unwrap_or_default();
        if options.pid != NamespaceMode::Target as i32 {
            return Ok(None);
        }
        let target = self
            .container(&options.target_id)
            .map_err(|_| Error::invalid(format!("target_id {:?} is not a container", options.target_id)))?;
        if target.pod_id() != pod.id {
            return Err(Error::invalid("target_id belongs to another sandbox"));
        }
        if target.state() != State::Running {
            return Err(Error::precondition("the target container is not running"));
        }
        Ok(Some(lock(&target.record).pid))
    }

    /// Checks that need no preparation.
    fn check_container(&self, pod: &Pod, config: &ContainerConfig) -> Result<()> {
        let context = spec::security(config);
        let pod_context =
            pod.config.linux.as_ref().and_then(|l| l.security_context.clone()).unwrap_or_default();
        if context.privileged && !pod_context.privileged {
            return Err(Error::invalid("a privileged container needs a privileged sandbox"));
        }
        let own = context.namespace_options.clone().unwrap_or_default();
        if NamespaceMode::try_from(own.pid).is_err() {
            return Err(Error::invalid(format!("pid namespace mode {} does not exist", own.pid)));
        }
        let pod_userns = pod_context.namespace_options.unwrap_or_default().userns_options;
        let is_pod = |u: &crate::api::UserNamespace| u.mode == NamespaceMode::Pod as i32;
        let asked = own.userns_options.filter(is_pod);
        if asked.is_some() && asked != pod_userns.clone().filter(is_pod) {
            return Err(Error::invalid("userns_options of the container differ from those of its sandbox"));
        }
        if let Some(wanted) = config.linux.as_ref().and_then(|l| l.resources.as_ref()) {
            resources::check(wanted)?;
        }
        if config.tty && config.stdin_once && !config.stdin {
            return Err(Error::invalid("stdin_once needs stdin"));
        }
        selinux(context)
    }

    /// Takes a container that was not made, or is to be removed, apart. May be repeated.
    pub fn scrap(&self, container: &Container) {
        let pod = self.pod(&container.pod_id());
        if let Ok(pod) = &pod {
            if let Ok(runtime) = self.runtime(&pod.handler())
                && container.dir.exists()
                && let Err(error) = runtime.call(&container.dir, &["delete", "--force"], &container.id)
            {
                tracing::debug!(container = %container.id, %error, "runtime delete");
            }
            let _ = client::ask(
                &pod.socket,
                &Request::Forget { id: container.id.clone() },
                std::time::Duration::from_secs(5),
            );
        }
        rootfs::unmount_all(&container.dir);
        let group = lock(&container.record).cgroup.clone();
        self.cgroups.remove(&group);
        for dir in [&container.dir, &self.layer_dir(&container.id)] {
            if let Err(error) = util::remove_dir(dir) {
                tracing::warn!(container = %container.id, %error, "removing a container's files");
            }
        }
        self.images.release(&container.id);
        (0..container.config.mounts.len())
            .for_each(|at| self.images.release(&format!("{}/{at}", container.id)));
        self.unreserve(&container.id);
    }
}

/// The signal for a graceful stop: the client's, else the image's, else TERM (`container.stop-signal.*`).
fn stop_signal(config: &ContainerConfig, image: &Resolved) -> i32 {
    signal::from_cri(config.stop_signal)
        .or_else(|| signal::parse(&image.config.config.stop_signal))
        .unwrap_or(15)
}

/// A label that cannot be one is refused; where SELinux is off it is not applied.
fn selinux(context: &LinuxContainerSecurityContext) -> Result<()> {
    let Some(options) = &context.selinux_options else { return Ok(()) };
    let level_ok = options.level.is_empty()
        || options.level.starts_with('s') && options.level[1..].starts_with(|c: char| c.is_ascii_digit());
    let parts = [&options.user, &options.role, &options.r#type];
    let plain = parts.iter().all(|p| p.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'));
    if level_ok && plain { Ok(()) } else { Err(Error::invalid("selinux_options are not a valid label")) }
}
