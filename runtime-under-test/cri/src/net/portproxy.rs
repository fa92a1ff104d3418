//! Port mappings of the built-in network: a small forwarding process per pod that has any.
//! It ends when the sandbox process does.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use super::{Pod, Port};
use crate::error::{Context as _, Error, Result};

const UDP_IDLE: Duration = Duration::from_secs(60);
const UDP_CLIENTS: usize = 1024;

#[derive(Serialize, Deserialize)]
struct Order {
    pause: i32,
    target: Ipv4Addr,
    ports: Vec<Port>,
}

/// Starts forwarding; returns when the ports are open. Does nothing for a pod without mappings.
pub fn start(pod: &Pod, target: Ipv4Addr) -> Result<()> {
    if pod.ports.is_empty() {
        return Ok(());
    }
    let order = Order { pause: pod.pause, target, ports: pod.ports.clone() };
    let mut command = Command::new("/proc/self/exe");
    command.arg0("plimsoll-cri").arg("port-proxy").env_clear().current_dir("/").process_group(0);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .doing("starting the port forwarder")?;
    let mut input = child.stdin.take().ok_or_else(|| Error::internal("no pipe to the port forwarder"))?;
    input.write_all(&serde_json::to_vec(&order).doing("describing ports")?).doing("describing ports")?;
    drop(input);
    let mut answer = String::new();
    if let Some(output) = child.stdout.take() {
        BufReader::new(output).read_line(&mut answer).doing("waiting for the port forwarder")?;
    }
    // Reaped here; it leaves by itself when the pod does.
    std::thread::Builder::new()
        .stack_size(64 << 10)
        .spawn(move || child.wait())
        .doing("watching the port forwarder")?;
    if answer.trim() == "ok" {
        Ok(())
    } else {
        Err(Error::internal(format!("opening host ports: {}", answer.trim())))
    }
}

/// Entry point of `plimsoll-cri port-proxy`.
pub fn main() -> Result<()> {
    let mut text = String::new();
    std::io::stdin().take(1 << 20).read_to_string(&mut text).doing("reading the ports")?;
    let order: Order = serde_json::from_str(&text).doing("reading the ports")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().doing("starting")?;
    runtime.block_on(async {
        let result = open(&order).await;
        let answer = result.as_ref().map_or_else(|error| error.message.clone(), |()| "ok".to_owned());
        writeln!(std::io::stdout(), "{answer}").doing("answering")?;
        std::io::stdout().flush().doing("answering")?;
        result?;
        let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null").doing("detaching")?;
        rustix::stdio::dup2_stdin(&null).doing("detaching")?;
        rustix::stdio::dup2_stdout(&null).doing("detaching")?;
        wait_for_end(order.pause).await
    })
}

async fn wait_for_end(pid: i32) -> Result<()> {
    let Some(pid) = rustix::process::Pid::from_raw(pid) else { return Ok(()) };
    let Ok(fd) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) else {
        return Ok(());
    };
    let fd = crate::sys::async_fd(fd).doing("watching the pod")?;
    drop(fd.readable().await.doing("watching the pod")?);
    Ok(())
}

async fn open(order: &Order) -> Result<()> {
    for port in &order.ports {
        let ip: IpAddr = if port.host_ip.is_empty() {
            Ipv4Addr::UNSPECIFIED.into()
        } else {
            port.host_ip.parse().doing("reading host_ip")?
        };
        let from = SocketAddr::new(ip, port.host_port);
        let to = SocketAddr::new(order.target.into(), port.container_port);
        match port.protocol.as_str() {
            "tcp" => {
                let listener = TcpListener::bind(from).await.doing(format_args!("tcp {from}"))?;
                tokio::spawn(serve_tcp(listener, to));
            }
            "udp" => {
                let socket = UdpSocket::bind(from).await.doing(format_args!("udp {from}"))?;
                tokio::spawn(serve_udp(Arc::new(socket), to));
            }
            other => return Err(Error::unimplemented(format!("port mappings of {other} need a CNI plugin"))),
        }
    }
    Ok(())
}

async fn serve_tcp(listener: TcpListener, to: SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((mut client, _)) => {
                tokio::spawn(async move {
                    if let Ok(mut server) = TcpStream::connect(to).await {
                        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                    }
                });
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn serve_udp(socket: Arc<UdpSocket>, to: SocketAddr) {
    let clients: Arc<Mutex<HashMap<SocketAddr, Arc<UdpSocket>>>> = Arc::default();
    let mut buffer = vec![0_u8; 64 << 10];
    while let Ok((len, from)) = socket.recv_from(&mut buffer).await {
        let known = clients.lock().unwrap_or_else(PoisonError::into_inner).get(&from).cloned();
        let upstream = match known {
            Some(upstream) => upstream,
            None => {
                let Ok(upstream) = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await else { continue };
                let upstream = Arc::new(upstream);
                if upstream.connect(to).await.is_err() {
                    continue;
                }
                let mut map = clients.lock().unwrap_or_else(PoisonError::into_inner);
                if map.len() >= UDP_CLIENTS {
                    continue;
                }
                map.insert(from, Arc::clone(&upstream));
                drop(map);
                tokio::spawn(answer_udp(
                    Arc::clone(&socket),
                    Arc::clone(&upstream),
                    from,
                    Arc::clone(&clients),
                ));
                upstream
            }
        };
        let _ = upstream.send(&buffer[..len]).await;
    }
}

async fn answer_udp(
    socket: Arc<UdpSocket>,
    upstream: Arc<UdpSocket>,
    to: SocketAddr,
    clients: Arc<Mutex<HashMap<SocketAddr, Arc<UdpSocket>>>>,
) {
    let mut buffer = vec![0_u8; 64 << 10];
    while let Ok(Ok(len)) = tokio::time::timeout(UDP_IDLE, upstream.recv(&mut buffer)).await {
        let _ = socket.send_to(&buffer[..len], to).await;
    }
    clients.lock().unwrap_or_else(PoisonError::into_inner).remove(&to);
}
