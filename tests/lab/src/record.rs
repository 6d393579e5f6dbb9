//! The records of the labs of this machine: what `down` needs to take one away, whoever started it and however that
//! ended.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use fs_err as fs;
use serde::{Deserialize, Serialize};

use crate::disk;
use crate::files;
use crate::network;
use crate::paths::{RECORDS, State, Subnet, node_name};

/// One lab.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) name: String,
    pub(crate) dir: PathBuf,
    pub(crate) subnet: Subnet,
    pub(crate) nodes: u8,
    /// The folder of etcd and etcdctl.
    pub(crate) etcd: PathBuf,
    pub(crate) etcd_version: String,
    /// The `lab` program.
    #[serde(default)]
    pub(crate) program: PathBuf,
}

impl Record {
    fn path(name: &str) -> PathBuf {
        Path::new(RECORDS).join(format!("{name}.json"))
    }

    /// Notes a new lab, with a subnet nobody uses, before anything of it is made.
    pub(crate) fn claim(
        name: &str,
        dir: PathBuf,
        nodes: u8,
        (etcd, etcd_version): (PathBuf, String),
        program: PathBuf,
    ) -> Result<Self> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || name.len() > 40 || !name.chars().all(fits) {
            bail!("a lab's name has 1 to 40 lower-case letters, digits and dashes, and {name:?} has not");
        }
        if !matches!(nodes, 1 | 3 | 5) {
            bail!("a lab has 1, 3 or 5 nodes, not {nodes}");
        }
        fs::create_dir_all(RECORDS)?;
        let lock = std::fs::File::create(Path::new(RECORDS).join(".lock"))?;
        lock.lock()?;
        if Self::path(name).exists() {
            bail!("there is a lab {name:?} already: take it away with lab down --name {name}");
        }
        if dir.exists() && fs::read_dir(&dir)?.next().is_some() {
            bail!("{} is not empty", dir.display());
        }
        let taken: Vec<u8> = Self::all()?.iter().map(|record| record.subnet.0).collect();
        let free = |subnet: &Subnet| !taken.contains(&subnet.0) && !network::link_exists(&subnet.bridge());
        let subnet = (1..=254).map(Subnet).find(free).context("no subnet of 10.89.0.0/16 is free")?;
        let record = Self { name: name.into(), dir, subnet, nodes, etcd, etcd_version, program };
        files::write(&Self::path(name), &serde_json::to_vec_pretty(&record)?, 0o644)?;
        Ok(record)
    }

    /// The lab of this name.
    pub(crate) fn load(name: &str) -> Result<Self> {
        let content = fs::read(Self::path(name)).with_context(|| format!("there is no lab {name:?}"))?;
        Ok(serde_json::from_slice(&content)?)
    }

    /// All labs, by name.
    pub(crate) fn all() -> Result<Vec<Self>> {
        let mut all = Vec::new();
        if !Path::new(RECORDS).exists() {
            return Ok(all);
        }
        for entry in fs::read_dir(RECORDS)? {
            let path = entry?.path();
            let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
            if !hidden && path.extension().is_some_and(|extension| extension == "json") {
                match fs::read(&path) {
                    Ok(content) => all.push(serde_json::from_slice::<Self>(&content)?),
                    // Another process took its lab away in between.
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    pub(crate) fn state(&self) -> State {
        State::new(&self.dir)
    }

    pub(crate) fn node_names(&self) -> Vec<String> {
        (1..=self.nodes).map(node_name).collect()
    }

    pub(crate) fn netns(&self, node: &str) -> String {
        format!("lab-{}-{node}", self.name)
    }

    /// The number of a node, from 1.
    pub(crate) fn number(&self, node: &str) -> Result<u8> {
        let number = (1..=self.nodes).find(|number| node_name(*number) == node);
        number.with_context(|| format!("lab {:?} has no node {node:?}", self.name))
    }

    /// Ends every process of the lab and takes away its namespaces, links, mounts and files, and this record last.
    pub(crate) fn remove(&self) -> Result<()> {
        for node in self.node_names() {
            // Not even a kill ends a process that waits for a disk which hangs.
            disk::thaw(&self.state().node(&node))?;
        }
        for node in self.node_names().iter().map(String::as_str).chain(["lb"]) {
            network::remove_host(self.subnet, &self.netns(node), node)?;
        }
        network::remove_bridge(self.subnet)?;
        unmount_below(&self.dir)?;
        if self.dir.exists() {
            fs::remove_dir_all(&self.dir)?;
        }
        match fs::remove_file(Self::path(&self.name)) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Unmounts what was mounted below a folder, last first.
pub(crate) fn unmount_below(dir: &Path) -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let places = mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(Path::new);
    let below: Vec<_> = places.filter(|place| place.starts_with(dir)).collect();
    for place in below.into_iter().rev() {
        rustix::mount::unmount(place, rustix::mount::UnmountFlags::DETACH)
            .with_context(|| format!("cannot unmount {}", place.display()))?;
    }
    Ok(())
}
