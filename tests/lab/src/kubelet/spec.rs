//! A container's OCI configuration, out of its pod and its image. What containerd gives a container by default is
//! given here, but no cgroup, no seccomp profile and no oom_score_adj: the kernels the lab runs on differ in them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use fs_err as fs;
use serde_json::{Value, json};

use super::Node;
use crate::image::Image;
use crate::pod::{Container, Pod, SecurityContext, field_ref};

/// All capabilities by number, as in linux/capability.h.
const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// containerd's default set.
const DEFAULT_CAPABILITIES: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

const MASKED: [&str; 10] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/firmware",
    "/proc/scsi",
];

const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// A mount of a container whose source is there.
#[derive(Debug, Clone)]
pub(super) struct Mount {
    pub(super) source: PathBuf,
    pub(super) place: String,
    pub(super) read_only: bool,
}

/// Why a container was not made: the waiting reason and message.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// The OCI configuration of one container, with the variables that Secrets and ConfigMaps give. `root` is its own tree.
pub(super) fn oci(
    node: &Node,
    pod: &Pod,
    container: &Container,
    (image, given): (&Image, &BTreeMap<String, String>),
    root: &Path,
    mounts: &[Mount],
) -> Result<Value, Refusal> {
    let default = SecurityContext::default();
    let own = container.security_context.as_ref().unwrap_or(&default);
    let shared = pod.spec.security_context.as_ref().unwrap_or(&default);
    let config_error = |message: String| Refusal { reason: "CreateContainerConfigError", message };

    let (image_uid, image_gid) = image_user(&image.config.user).map_err(|error| config_error(format!("{error:#}")))?;
    let uid = own.run_as_user.or(shared.run_as_user).unwrap_or(image_uid);
    let gid = own.run_as_group.or(shared.run_as_group).unwrap_or(image_gid);
    if own.run_as_non_root.or(shared.run_as_non_root) == Some(true) && uid == 0 {
        return Err(config_error("container has runAsNonRoot and image will run as root".into()));
    }
    let privileged = own.privileged == Some(true);
    let capabilities = capabilities(own, privileged).map_err(|error| config_error(format!("{error:#}")))?;

    let mut args =
        if container.command.is_empty() { image.config.entrypoint.clone() } else { container.command.clone() };
    if !container.args.is_empty() {
        args.extend(container.args.iter().cloned());
    } else if container.command.is_empty() {
        args.extend(image.config.cmd.iter().cloned());
    }
    if args.is_empty() {
        return Err(Refusal { reason: "CreateContainerError", message: "no command specified".into() });
    }
    let working_dir = [container.working_dir.as_str(), image.config.working_dir.as_str(), "/"]
        .into_iter()
        .find(|dir| !dir.is_empty())
        .unwrap_or("/");

    let mut namespaces = vec![json!({"type": "mount"}), json!({"type": "uts"})];
    if !pod.spec.host_pid {
        namespaces.push(json!({"type": "pid"}));
    }
    if !pod.spec.host_ipc {
        namespaces.push(json!({"type": "ipc"}));
    }
    // There is no pod network: such a container reaches nobody, and nobody reaches it.
    if !pod.spec.host_network {
        namespaces.push(json!({"type": "network"}));
    }
    let hostname = if pod.spec.host_network { &node.name } else { &pod.metadata.name };
    let (masked, read_only): (&[&str], &[&str]) = if privileged { (&[], &[]) } else { (&MASKED, &READ_ONLY) };
    Ok(json!({
        "ociVersion": "1.0.0",
        "hostname": hostname,
        "root": {"path": root, "readonly": own.read_only_root_filesystem == Some(true)},
        "process": {
            "terminal": false, "cwd": working_dir, "args": args, "env": env(node, pod, container, image, given),
            "user": {"uid": uid, "gid": gid, "additionalGids": shared.supplemental_groups},
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
            "noNewPrivileges": own.allow_privilege_escalation == Some(false),
        },
        "mounts": oci_mounts(privileged, mounts),
        "linux": {"namespaces": namespaces, "maskedPaths": masked, "readonlyPaths": read_only},
    }))
}

fn env(node: &Node, pod: &Pod, container: &Container, image: &Image, given: &BTreeMap<String, String>) -> Vec<String> {
    let mut env = image.config.env.clone();
    if !env.iter().any(|variable| variable.starts_with("PATH=")) {
        env.push("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into());
    }
    let mut set = |name: &str, value: &str| {
        env.retain(|old| !old.starts_with(&format!("{name}=")));
        env.push(format!("{name}={value}"));
    };
    set("HOSTNAME", &node.name);
    given.iter().for_each(|(name, value)| set(name, value));
    for variable in &container.env {
        let value = match field_ref(variable) {
            Some("spec.nodeName") => node.name.clone(),
            Some("metadata.name") => pod.metadata.name.clone(),
            Some("metadata.namespace") => pod.metadata.namespace.clone(),
            Some("metadata.uid") => pod.metadata.uid.clone(),
            Some("status.hostIP" | "status.podIP") => node.address.to_string(),
            _ => variable.value.clone(),
        };
        set(&variable.name, &value);
    }
    env
}

fn oci_mounts(privileged: bool, mounts: &[Mount]) -> Vec<Value> {
    let sys_mode = if privileged { "rw" } else { "ro" };
    let mut all = vec![
        json!({"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]}),
        json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
               "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]}),
        json!({"destination": "/dev/pts", "type": "devpts", "source": "devpts",
               "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]}),
        json!({"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
               "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]}),
        json!({"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
               "options": ["nosuid", "noexec", "nodev"]}),
        json!({"destination": "/sys", "type": "none", "source": "/sys",
               "options": ["rbind", "nosuid", "noexec", "nodev", sys_mode]}),
    ];
    // A mount hides what was mounted below it before: outer places first.
    let mut mounts: Vec<_> = mounts.iter().collect();
    mounts.sort_by_key(|mount| mount.place.len());
    all.extend(mounts.into_iter().map(|mount| {
        let mode = if mount.read_only { "ro" } else { "rw" };
        json!({"destination": mount.place, "type": "none", "source": mount.source, "options": ["rbind", "rprivate", mode]})
    }));
    all
}

/// The user of an image by number. Names would need the image's own passwd file.
fn image_user(user: &str) -> Result<(u32, u32)> {
    let (user, group) = user.split_once(':').unwrap_or((user, ""));
    let number = |name: &str| match name {
        "" | "root" => Ok(0),
        name => name.parse().with_context(|| format!("the lab takes users of images by number only, not {name}")),
    };
    Ok((number(user)?, number(group)?))
}

/// The capabilities, none of which the machine itself lacks.
fn capabilities(context: &SecurityContext, privileged: bool) -> Result<Vec<String>> {
    let mut set: Vec<&str> = if privileged { CAPABILITIES.to_vec() } else { DEFAULT_CAPABILITIES.to_vec() };
    if let Some(wanted) = &context.capabilities {
        for name in &wanted.drop {
            set.retain(|have| name != "ALL" && have != name);
        }
        for name in &wanted.add {
            match CAPABILITIES.iter().find(|known| *known == name) {
                Some(known) => set.push(known),
                None if name == "ALL" => set = CAPABILITIES.to_vec(),
                None => bail!("unknown capability to add {name:?}"),
            }
        }
    }
    let status = fs::read_to_string("/proc/self/status")?;
    let bounding = status.lines().find_map(|line| line.strip_prefix("CapBnd:")).context("no CapBnd")?;
    let bounding = u64::from_str_radix(bounding.trim(), 16)?;
    let held =
        |name: &str| CAPABILITIES.iter().position(|known| *known == name).is_some_and(|n| bounding >> n & 1 == 1);
    Ok(CAPABILITIES.iter().filter(|name| set.contains(name) && held(name)).map(|name| format!("CAP_{name}")).collect())
}
