//! A server on a temporary socket, an image made of busybox, and a registry that serves it.
#![allow(dead_code, missing_docs)]

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use plimsoll_cri::api::image_service_client::ImageServiceClient;
use plimsoll_cri::api::runtime_service_client::RuntimeServiceClient;
use plimsoll_cri::api::*;
use sha2::{Digest as _, Sha256};
use tonic::transport::Channel;

pub const IMAGE: &str = "test.local/busybox:1";

/// The OCI runtime behind the server: runc, or another one by `PLIMSOLL_CRI_TEST_RUNTIME`.
fn handler() -> String {
    std::env::var("PLIMSOLL_CRI_TEST_RUNTIME").unwrap_or_else(|_| "/usr/sbin/runc".to_owned())
}

/// Why these tests cannot run here; fails instead when `PLIMSOLL_CI` is set.
pub fn unable() -> bool {
    let root = std::fs::read_to_string("/proc/self/status")
        .is_ok_and(|s| s.lines().any(|l| l.starts_with("Uid:\t0")));
    let missing = ["/usr/bin/busybox".to_owned(), handler()].into_iter().find(|p| !Path::new(p).exists());
    let reason = match (root, missing) {
        (false, _) => "not root".to_owned(),
        (true, Some(path)) => format!("{path} is not installed"),
        (true, None) => return false,
    };
    assert!(std::env::var_os("PLIMSOLL_CI").is_none(), "cannot test: {reason}");
    println!("SKIP: {reason}");
    true
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(bytes)))
}

/// A layer from (path, contents); a path that ends in `/` is a directory, contents `->x` a link.
pub fn layer(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, data) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(0);
        if path.ends_with('/') {
            header.set_entry_type(tar::EntryType::Directory);
            builder.append_data(&mut header, path, std::io::empty()).unwrap();
        } else if let Some(target) = data.strip_prefix(b"->") {
            header.set_entry_type(tar::EntryType::Symlink);
            builder.append_link(&mut header, path, std::str::from_utf8(target).unwrap()).unwrap();
        } else {
            header.set_size(data.len() as u64);
            builder.append_data(&mut header, path, *data).unwrap();
        }
    }
    builder.into_inner().unwrap()
}

/// Blobs of an image by digest, and the digest of its manifest.
pub struct Image {
    pub blobs: BTreeMap<String, Vec<u8>>,
    pub manifest: String,
    pub config: String,
}

pub fn image(layers: Vec<Vec<u8>>, config: &serde_json::Value) -> Image {
    let mut blobs = BTreeMap::new();
    let diff_ids: Vec<String> = layers.iter().map(|l| digest(l)).collect();
    let mut entries = Vec::new();
    for layer in layers {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&layer).unwrap();
        let blob = encoder.finish().unwrap();
        entries.push(serde_json::json!({"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest(&blob), "size": blob.len()}));
        blobs.insert(digest(&blob), blob);
    }
    let config = serde_json::json!({"architecture": "amd64", "os": "linux", "config": config, "rootfs": {"type": "layers", "diff_ids": diff_ids}});
    let config = config.to_string().into_bytes();
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(&config), "size": config.len()},
        "layers": entries,
    });
    let manifest = manifest.to_string().into_bytes();
    let (config_digest, manifest_digest) = (digest(&config), digest(&manifest));
    blobs.insert(config_digest.clone(), config);
    blobs.insert(manifest_digest.clone(), manifest);
    Image { blobs, manifest: manifest_digest, config: config_digest }
}

pub fn busybox() -> Image {
    let program = std::fs::read("/usr/bin/busybox").unwrap();
    let mut files: Vec<(&str, &[u8])> =
        vec![("bin/", b""), ("etc/", b""), ("tmp/", b""), ("bin/busybox", &program)];
    for name in [
        "sh", "cat", "echo", "sleep", "id", "ls", "nc", "hostname", "true", "false", "stty", "yes", "head",
        "kill", "touch", "seq", "env",
    ] {
        let path: &'static str = Box::leak(format!("bin/{name}").into_boxed_str());
        files.push((path, b"->busybox"));
    }
    files.push(("etc/passwd", b"root:x:0:0::/root:/bin/sh\nweb:x:1000:1000::/home/web:/bin/sh\n"));
    files.push(("gone", b"x"));
    let upper = layer(&[(".wh.gone", b""), ("second", b"2")]);
    image(
        vec![layer(&files), upper],
        &serde_json::json!({"Env": ["FROM_IMAGE=1"], "Cmd": ["/bin/sleep", "3600"], "User": "0"}),
    )
}

/// Writes an OCI layout.
pub fn layout(dir: &Path, image: &Image, name: &str) {
    let blobs = dir.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    for (digest, blob) in &image.blobs {
        std::fs::write(blobs.join(&digest[7..]), blob).unwrap();
    }
    std::fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [{
        "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": image.manifest, "size": image.blobs[&image.manifest].len(),
        "annotations": {"io.containerd.image.name": name}}]});
    std::fs::write(dir.join("index.json"), index.to_string()).unwrap();
}

/// A registry on loopback; wants basic credentials when `auth` is set. Lives as long as the process.
pub fn registry(images: Vec<(&str, Image)>, auth: Option<&str>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut content: BTreeMap<String, (String, Vec<u8>)> = BTreeMap::new();
    for (name, image) in images {
        let kind = "application/vnd.oci.image.manifest.v1+json".to_owned();
        for (digest, blob) in &image.blobs {
            content.insert(
                format!("/v2/{name}/blobs/{digest}"),
                ("application/octet-stream".into(), blob.clone()),
            );
        }
        for tag in ["1", image.manifest.as_str()] {
            content.insert(
                format!("/v2/{name}/manifests/{tag}"),
                (kind.clone(), image.blobs[&image.manifest].clone()),
            );
        }
    }
    let (content, auth) = (Arc::new(content), auth.map(str::to_owned));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut head = Vec::new();
            let mut byte = [0; 512];
            while !head.windows(4).any(|w| w == b"\r\n\r\n") {
                match stream.read(&mut byte) {
                    Ok(got @ 1..) => head.extend_from_slice(&byte[..got]),
                    _ => break,
                }
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
            let denied = auth.as_ref().is_some_and(|want| {
                !head.to_ascii_lowercase().contains(&format!("authorization: {}", want.to_ascii_lowercase()))
            });
            let answer = match content.get(&path) {
                _ if denied => b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"r\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec(),
                Some((kind, blob)) => {
                    let mut out = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", blob.len()).into_bytes();
                    out.extend_from_slice(blob);
                    out
                }
                None => b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec(),
            };
            let _ = stream.write_all(&answer);
        }
    });
    address
}

pub struct Server {
    pub dir: tempfile::TempDir,
    child: Child,
    subnet: u8,
}

impl Server {
    pub fn start(subnet: u8) -> Self {
        let dir = tempfile::Builder::new().prefix("cri").tempdir().unwrap();
        let layout_dir = dir.path().join("layout");
        layout(&layout_dir, &busybox(), IMAGE);
        let out = Command::new(env!("CARGO_BIN_EXE_plimsoll-cri"))
            .args(["images", "import"])
            .arg(&layout_dir)
            .arg("--root")
            .arg(dir.path().join("root"))
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let child = Self::spawn(dir.path(), subnet);
        Self { dir, child, subnet }
    }

    fn spawn(dir: &Path, subnet: u8) -> Child {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(dir.join("server.log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_plimsoll-cri"))
            .arg("--root")
            .arg(dir.join("root"))
            .arg("--state")
            .arg(dir.join("state"))
            .arg("--socket")
            .arg(dir.join("sock/cri.sock"))
            .args([
                "--runtime",
                &format!("under-test={}", handler()),
                "--default-runtime",
                "under-test",
                "--network",
                "builtin",
            ])
            .args([
                "--subnet",
                &format!("10.213.{subnet}.0/24"),
                "--bridge",
                &format!("plt{}x{subnet}", std::process::id()),
            ])
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let until = Instant::now() + Duration::from_secs(60);
        // A socket that an earlier server left behind refuses connections.
        while std::os::unix::net::UnixStream::connect(dir.join("sock/cri.sock")).is_err() {
            assert!(
                Instant::now() < until,
                "no socket: {}",
                std::fs::read_to_string(dir.join("server.log")).unwrap()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        child
    }

    /// SIGKILL, then a new server on the same state.
    pub fn kill_and_restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = Self::spawn(self.dir.path(), self.subnet);
    }

    /// Process id of the running server.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub async fn clients(&self) -> (RuntimeServiceClient<Channel>, ImageServiceClient<Channel>) {
        let channel = tonic::transport::Endpoint::try_from(format!(
            "unix:{}",
            self.dir.path().join("sock/cri.sock").display()
        ))
        .unwrap();
        let channel = channel.connect().await.unwrap();
        let runtime = RuntimeServiceClient::new(channel.clone()).max_decoding_message_size(64 << 20);
        (runtime, ImageServiceClient::new(channel))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.dir.path().join("server.log")).unwrap_or_default();
            eprintln!("server log:\n{log}");
        }
        self.clean();
        if let Some(pid) = rustix::process::Pid::from_raw(self.child.id() as i32) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.child.wait();
    }
}

impl Server {
    /// Removes all pods, so that a failed test leaves nothing either.
    fn clean(&self) {
        let socket = self.dir.path().join("sock/cri.sock");
        let work = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let Ok(mut client) =
                    RuntimeServiceClient::connect(format!("unix:{}", socket.display())).await
                else {
                    return;
                };
                let Ok(list) = client.list_pod_sandbox(ListPodSandboxRequest::default()).await else {
                    return;
                };
                for pod in list.into_inner().items {
                    let _ =
                        client.remove_pod_sandbox(RemovePodSandboxRequest { pod_sandbox_id: pod.id }).await;
                }
            });
        });
        let _ = work.join();
    }
}

pub fn pod(name: &str, log_directory: &Path) -> PodSandboxConfig {
    PodSandboxConfig {
        metadata: Some(PodSandboxMetadata {
            name: name.into(),
            uid: format!("uid-{name}"),
            namespace: "test".into(),
            attempt: 0,
        }),
        hostname: format!("host-{name}"),
        log_directory: log_directory.display().to_string(),
        labels: BTreeMap::from([("l".into(), name.into())]),
        annotations: BTreeMap::from([("a".into(), "1".into())]),
        ..Default::default()
    }
}

pub fn container(name: &str, command: &[&str]) -> ContainerConfig {
    ContainerConfig {
        metadata: Some(ContainerMetadata { name: name.into(), attempt: 0 }),
        image: Some(ImageSpec { image: IMAGE.into(), ..Default::default() }),
        command: command.iter().map(|s| (*s).to_owned()).collect(),
        log_path: format!("{name}/0.log"),
        ..Default::default()
    }
}
