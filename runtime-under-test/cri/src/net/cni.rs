//! Container Network Interface: configuration lists and plugins (CNI spec 1.0.0, which older plugins share).

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Attachment, Pod};
use crate::config::NetworkConfig;
use crate::error::{Error, Result};
use crate::oci::run_with;

/// One plugin may take this long.
const LIMIT: Duration = Duration::from_secs(60);

/// A configuration list.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct List {
    name: String,
    #[serde(rename = "cniVersion", default)]
    version: String,
    plugins: Vec<Value>,
}

/// What was used for a pod and what came of it: DEL needs both.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Used {
    list: List,
    result: Option<Value>,
}

/// The first usable configuration by file name.
pub fn load(config: &NetworkConfig) -> Result<Option<List>> {
    let Ok(entries) = std::fs::read_dir(&config.cni_conf_dir) else { return Ok(None) };
    let mut files: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "conflist" || e == "conf" || e == "json"));
    files.sort();
    let mut problem = None;
    for file in files {
        let bad = |why: String| Error::internal(format!("CNI configuration {}: {why}", file.display()));
        let value: Result<Value> = std::fs::read(&file)
            .map_err(|error| bad(error.to_string()))
            .and_then(|bytes| serde_json::from_slice(&bytes).map_err(|error| bad(error.to_string())));
        let list = value.and_then(|value| {
            if value.get("plugins").is_some() {
                return serde_json::from_value::<List>(value).map_err(|error| bad(error.to_string()));
            }
            let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
            Ok(List { name: text("name"), version: text("cniVersion"), plugins: vec![value.clone()] })
        });
        match list {
            Ok(list) if !list.plugins.is_empty() && !list.name.is_empty() => return Ok(Some(list)),
            Ok(_) => problem = Some(bad("no name or no plugins".into())),
            Err(error) => problem = Some(error),
        }
    }
    problem.map_or(Ok(None), Err)
}

/// Runs ADD of each plugin; on failure DEL of all (`network.cni.add-failure`).
pub fn add(config: &NetworkConfig, list: &List, pod: &Pod) -> Result<Attachment> {
    let mut previous: Option<Value> = None;
    for plugin in &list.plugins {
        match call(config, list, plugin, pod, "ADD", previous.as_ref()) {
            Ok(result) => previous = result.or(previous),
            Err(error) => {
                let _ = del(config, &Used { list: list.clone(), result: previous }, pod);
                return Err(error.context("setting up the pod's network"));
            }
        }
    }
    let ips = previous.as_ref().map(addresses).unwrap_or_default();
    if ips.is_empty() {
        let _ = del(config, &Used { list: list.clone(), result: previous }, pod);
        return Err(Error::internal(format!("CNI network {} gave the pod no address", list.name)));
    }
    Ok(Attachment { ips, cni: Some(Used { list: list.clone(), result: previous }) })
}

/// Runs DEL of each plugin, last first; the first failure is returned after all were tried.
pub fn del(config: &NetworkConfig, used: &Used, pod: &Pod) -> Result<()> {
    let mut first = Ok(());
    for plugin in used.list.plugins.iter().rev() {
        let result = call(config, &used.list, plugin, pod, "DEL", used.result.as_ref()).map(drop);
        if first.is_ok() {
            first = result;
        }
    }
    first.map_err(|error| error.context("taking the pod's network down"))
}

fn call(
    config: &NetworkConfig,
    list: &List,
    plugin: &Value,
    pod: &Pod,
    command: &str,
    previous: Option<&Value>,
) -> Result<Option<Value>> {
    let kind = plugin["type"].as_str().unwrap_or_default();
    if kind.is_empty() || kind.contains('/') {
        return Err(Error::internal(format!("CNI network {}: plugin type {kind:?} is malformed", list.name)));
    }
    let program =
        config.cni_bin_dirs.iter().map(|dir| dir.join(kind)).find(|file| file.exists()).ok_or_else(|| {
            Error::internal(format!("CNI plugin {kind} is in none of the plugin directories; install it"))
        })?;
    let mut input = plugin.clone();
    input["name"] = json!(list.name);
    input["cniVersion"] = json!(if list.version.is_empty() { "0.3.1" } else { &list.version });
    let capabilities = input.as_object_mut().and_then(|o| o.remove("capabilities")).unwrap_or_default();
    let runtime = runtime_config(&capabilities, pod);
    if !runtime.is_null() {
        input["runtimeConfig"] = runtime;
    }
    if let Some(previous) = previous {
        input["prevResult"] = previous.clone();
    }
    let netns = format!("/proc/{}/ns/net", pod.pause);
    let netns = if std::path::Path::new(&netns).exists() { netns } else { String::new() };
    let args = format!(
        "IgnoreUnknown=1;K8S_POD_NAMESPACE={};K8S_POD_NAME={};K8S_POD_INFRA_CONTAINER_ID={};K8S_POD_UID={}",
        pod.namespace, pod.name, pod.id, pod.uid
    );
    let path = config.cni_bin_dirs.iter().map(|d| d.display().to_string()).collect::<Vec<_>>().join(":");
    let env: Vec<(String, String)> = [
        ("CNI_COMMAND", command),
        ("CNI_CONTAINERID", &pod.id),
        ("CNI_NETNS", &netns),
        ("CNI_IFNAME", "eth0"),
        ("CNI_ARGS", &args),
        ("CNI_PATH", &path),
    ]
    .iter()
    .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
    .collect();
    let done = run_with(&[program.display().to_string()], &env, Some(input.to_string().into_bytes()), LIMIT)?;
    let answer: Option<Value> = serde_json::from_str(&done.stdout).ok();
    if done.code == 0 {
        return Ok(answer);
    }
    let message = answer
        .as_ref()
        .and_then(|a| a["msg"].as_str())
        .map_or_else(|| done.stderr.trim().to_owned(), str::to_owned);
    Err(Error::internal(format!("CNI plugin {kind} {command}: {message}")))
}

fn runtime_config(capabilities: &Value, pod: &Pod) -> Value {
    let wants = |name: &str| capabilities[name].as_bool().unwrap_or(false);
    let mut out = Value::Null;
    if wants("portMappings") && !pod.ports.is_empty() {
        let one = |p: &super::Port| json!({"hostPort": p.host_port, "containerPort": p.container_port, "protocol": p.protocol, "hostIP": p.host_ip});
        out["portMappings"] = pod.ports.iter().map(one).collect();
    }
    if let Some((ingress, egress)) = pod.bandwidth
        && wants("bandwidth")
    {
        out["bandwidth"] = json!({"ingressRate": ingress, "ingressBurst": i32::MAX, "egressRate": egress, "egressBurst": i32::MAX});
    }
    out
}

/// Addresses of a result, of either result format, without the prefix length.
fn addresses(result: &Value) -> Vec<String> {
    let bare = |text: &str| text.split('/').next().unwrap_or_default().to_owned();
    let modern = result["ips"].as_array().into_iter().flatten().filter_map(|ip| ip["address"].as_str());
    let old = ["ip4", "ip6"].into_iter().filter_map(|key| result[key]["ip"].as_str());
    modern.chain(old).map(bare).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_both_formats_are_read() {
        let modern = json!({"ips": [{"address": "10.0.0.2/24"}, {"address": "fd00::2/64"}]});
        assert_eq!(addresses(&modern), vec!["10.0.0.2", "fd00::2"]);
        assert_eq!(addresses(&json!({"ip4": {"ip": "10.0.0.3/16"}})), vec!["10.0.0.3"]);
    }

    #[test]
    fn the_first_usable_file_wins() {
        let dir = tempfile::tempdir().unwrap();
        let config = NetworkConfig { cni_conf_dir: dir.path().into(), ..Default::default() };
        assert!(load(&config).unwrap().is_none());
        std::fs::write(dir.path().join("0-bad.conf"), "{").unwrap();
        assert!(load(&config).is_err());
        std::fs::write(
            dir.path().join("1.conflist"),
            r#"{"name":"n","cniVersion":"1.0.0","plugins":[{"type":"x"}]}"#,
        )
        .unwrap();
        assert_eq!(load(&config).unwrap().unwrap().name, "n");
    }
}
