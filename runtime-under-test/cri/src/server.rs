//! Putting it all together: locks, recovery, sockets, signals.

use std::collections::BTreeMap;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::broadcast;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;

use crate::api::image_service_client::ImageServiceClient;
use crate::api::image_service_server::ImageServiceServer;
use crate::api::runtime_service_server::RuntimeServiceServer;
use crate::api::{ImageSpec, PullImageRequest};
use crate::config::Config;
use crate::error::{Context as _, Error, Result};
use crate::images::store::ImageStore;
use crate::net::{Network, builtin};
use crate::oci::{self, Runtime};
use crate::pods::{Daemon, Table, cgroup, lock, rootfs};
use crate::service::Service;
use crate::stream;
use crate::util;

/// Largest message taken or given (`transport.max-message-16mib`); `ExecSync` may answer with two full streams.
const MESSAGE_LIMIT: usize = 64 << 20;
/// Events that wait for a slow subscriber.
const EVENT_QUEUE: usize = 1024;

/// Takes the store's lock; `None` when a server holds it.
pub fn lock_root(root: &Path) -> Result<Option<std::fs::File>> {
    util::make_dir(root, 0o711)?;
    let path = root.join("lock");
    let file = std::fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .with_path("opening", &path)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(Error::internal(format!("locking {}: {error}", path.display()))),
    }
}

/// Takes the store's lock for a server. One that was killed just now may have a child that has not become another
/// program yet and holds the lock for a moment longer.
fn await_root(root: &Path) -> Result<std::fs::File> {
    let end = Instant::now() + Duration::from_secs(3);
    loop {
        if let Some(lock) = lock_root(root)? {
            return Ok(lock);
        }
        if Instant::now() > end {
            let root = root.display();
            return Err(Error::precondition(format!(
                "another server uses {root}; stop it or choose another --root"
            )));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Serves until told to stop.
pub fn serve(config: Config, json: bool) -> Result<()> {
    start_log(json);
    let _lock = await_root(&config.root)?;
    util::make_dir(&config.state, 0o711)?;
    oci::check_socket_dir(&config.state)?;
    // Forks: must come before any thread.
    let userns = rootfs::supports_idmap(&config.root);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_keep_alive(Duration::from_secs(2))
        .build()
        .doing("starting the server")?;
    let handle = runtime.handle().clone();
    let result = runtime.block_on(async move {
        let daemon = make_daemon(config, userns, handle)?;
        let own = Arc::clone(&daemon);
        tokio::task::spawn_blocking(move || own.recover()).await.doing("reading the state")??;
        listen(daemon).await
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

fn start_log(json: bool) {
    let filter =
        tracing_subscriber::EnvFilter::try_from_env("PLIMSOLL_CRI_LOG").unwrap_or_else(|_| "info".into());
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second server in one process (tests) keeps the first one's log.
    let _ = if json { builder.json().try_init() } else { builder.with_ansi(false).try_init() };
}

fn make_daemon(config: Config, userns: bool, handle: tokio::runtime::Handle) -> Result<Arc<Daemon>> {
    let images = Arc::new(ImageStore::open(&config.root.join("images"))?);
    let network = Network::new(&config.network, &config.state)?;
    let mut runtimes = BTreeMap::new();
    for (name, settings) in &config.runtimes {
        let root = config.state.join("oci").join(name);
        util::make_dir(&root, 0o711)?;
        let mut one = Runtime {
            name: name.clone(),
            path: settings.path.clone(),
            args: settings.args.clone(),
            root,
            limit: Duration::from_secs(config.runtime_timeout.max(1)),
            rro: false,
        };
        let options = one.features().and_then(|f| f.get("mountOptions").cloned()).unwrap_or_default();
        one.rro = options.as_array().is_some_and(|list| list.iter().any(|o| o == "rro"));
        runtimes.insert(name.clone(), one);
    }
    Ok(Arc::new_cyclic(|own| Daemon {
        config,
        images,
        runtimes,
        network,
        cgroups: cgroup::Layout::detect(),
        table: Mutex::new(Table::default()),
        events: broadcast::Sender::new(EVENT_QUEUE),
        streams: stream::tokens::Tokens::default(),
        rates: crate::stats::Rates::default(),
        userns,
        handle,
        own: own.clone(),
    }))
}

async fn listen(daemon: Arc<Daemon>) -> Result<()> {
    let address = stream::http::start(&daemon).await?;
    let path = daemon.config.socket.clone();
    let listener = bind(&path, daemon.config.socket_gid)?;
    let service = Service { daemon: Arc::clone(&daemon) };
    let (stop, mut stopped) = tokio::sync::watch::channel(false);
    let runtime = RuntimeServiceServer::new(service.clone())
        .max_decoding_message_size(MESSAGE_LIMIT)
        .max_encoding_message_size(MESSAGE_LIMIT);
    let image = ImageServiceServer::new(service)
        .max_decoding_message_size(MESSAGE_LIMIT)
        .max_encoding_message_size(MESSAGE_LIMIT);
    let server = Server::builder().add_service(runtime).add_service(image).serve_with_incoming_shutdown(
        UnixListenerStream::new(listener),
        async move {
            let _ = stopped.wait_for(|stop| *stop).await;
        },
    );
    let mut terminate = signal(SignalKind::terminate()).doing("handling signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).doing("handling signals")?;
    let (pods, containers) = {
        let table = lock(&daemon.table);
        (table.pods.len(), table.containers.len())
    };
    tracing::info!(socket = %path.display(), streaming = %address, runtime = %daemon.config.default_runtime, pods, containers, "serving CRI v1");
    notify_ready();
    let server = tokio::spawn(server);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping; pods and containers go on");
    let _ = stop.send(true);
    // Event streams never end by themselves: do not wait for them for long.
    let _ = tokio::time::timeout(Duration::from_secs(2), server).await;
    let _ = std::fs::remove_file(&path);
    if lock(&daemon.table).pods.is_empty() {
        builtin::remove_idle_bridge(&daemon.config.network);
        let root = daemon.config.cgroup_root.trim_matches('/');
        if !root.is_empty() {
            daemon.cgroups.remove(root);
        }
    }
    Ok(())
}

/// A socket of mode 0660 in a directory of mode 0710 (RELIABILITY: gRPC socket). It appears with its
/// final mode: it is made under another name and renamed.
fn bind(path: &Path, gid: Option<u32>) -> Result<UnixListener> {
    let parent = path.parent().ok_or_else(|| Error::invalid("the socket needs a directory"))?;
    util::make_dir(parent, 0o710)?;
    match std::fs::symlink_metadata(path) {
        Ok(meta) if !meta.file_type().is_socket() => {
            return Err(Error::invalid(format!(
                "{} exists and is not a socket; remove it or choose another --socket",
                path.display()
            )));
        }
        _ => {}
    }
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".new");
    let tmp = path.with_file_name(name);
    let _ = std::fs::remove_file(&tmp);
    let listener = UnixListener::bind(&tmp).with_path("listening on", &tmp)?;
    std::fs::set_permissions(&tmp, std::fs::Permissions::from_mode(0o660))
        .with_path("changing the mode of", &tmp)?;
    if gid.is_some() {
        std::os::unix::fs::chown(&tmp, None, gid).with_path("changing the group of", &tmp)?;
    }
    std::fs::rename(&tmp, path).with_path("renaming into place", path)?;
    Ok(listener)
}

/// Tells systemd, where there is one, that the server is ready.
fn notify_ready() {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    if let Ok(socket) = std::os::unix::net::UnixDatagram::unbound() {
        let _ = socket.send_to(b"READY=1", Path::new(&path));
    }
}

/// Has a running server import an archive.
pub fn import_through_server(socket: &Path, source: &Path, name: Option<&str>) -> Result<Vec<String>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().doing("starting")?;
    let annotations = BTreeMap::from([(crate::service::IMPORT.to_owned(), source.display().to_string())]);
    let image = ImageSpec { image: name.unwrap_or_default().to_owned(), annotations, ..Default::default() };
    let request = PullImageRequest { image: Some(image), ..Default::default() };
    runtime.block_on(async {
        let mut client = ImageServiceClient::connect(format!("unix:{}", socket.display()))
            .await
            .doing("connecting to the server")?;
        let answer =
            client.pull_image(request).await.map_err(|status| Error::new(status.code(), status.message()))?;
        Ok(answer.into_inner().image_ref.lines().map(str::to_owned).collect())
    })
}
