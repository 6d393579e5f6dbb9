//! Looks after what is held: a manifest that another program has written again goes out once more, and what runs although its manifest is
//! held is ended.

use etcd_wire::Failure;

use super::ground::{API_SERVER, Component};
use super::hold::{self, Reappeared, Turn};
use super::journal::storage;
use super::layout::Layout;
use super::process;

/// What was found, and is no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Intrusion {
    /// The component whose manifest is held.
    pub(super) component: String,
    /// Its manifest, which was in the kubelet's folder again.
    pub(super) reappeared: Option<Reappeared>,
    /// How many of its processes were ended.
    pub(super) ended: usize,
}

/// Looks once. `stopped` says that the component's own step has seen it ended: until then etcd and controllers are given their time, while an
/// API server is ended at once, because it can still write.
///
/// Nothing is done, and `None` answered, unless the manifest is held. Whoever puts it back waits until this returns. etcd must not be looked
/// after from when it is about to be launched until it is to be stopped again: its own manifest is held while it runs with another one.
///
/// # Errors
/// The disk fails, or the processes of the node cannot be seen.
pub(super) fn look(
    layout: &Layout,
    component: &Component,
    stopped: bool,
    turn: &Turn,
) -> Result<Option<Intrusion>, Failure> {
    if !hold::is_held(layout, component)? {
        return Ok(None);
    }
    let reappeared = hold::expel(layout, component, turn)?;
    let ended = match must_not_run(&component.name, stopped) {
        true => process::kill(&component.command_lines())
            .map_err(|error| storage(&format!("end {}", component.name), &error))?,
        false => 0,
    };
    let intrusion = Intrusion { component: component.name.clone(), reappeared, ended };
    Ok((intrusion.reappeared.is_some() || intrusion.ended > 0).then_some(intrusion))
}

fn must_not_run(component: &str, stopped: bool) -> bool {
    stopped || component == API_SERVER
}

#[cfg(test)]
mod tests {
    use super::super::ground::ETCD;
    use super::super::layout::tests::layout;
    use super::*;

    #[test]
    fn only_what_is_held_is_ended_and_each_in_its_time() {
        for (name, stopped, ends) in
            [(API_SERVER, false, true), (API_SERVER, true, true), (ETCD, false, false), (ETCD, true, true)]
        {
            assert_eq!(must_not_run(name, stopped), ends, "{name}");
            let folder = tempfile::tempdir().unwrap();
            let layout = layout(folder.path());
            std::fs::create_dir_all(layout.manifests().path()).unwrap();
            let argument =
                format!("{}.{}", 80_000 + std::process::id(), u8::from(stopped) + 2 * u8::from(name == ETCD));
            let mut child = std::process::Command::new("sleep").arg(&argument).spawn().unwrap();
            let component = Component {
                name: name.into(),
                file: "pod.yaml".into(),
                argv: vec!["sleep".into(), argument],
                ..Component::default()
            };
            // The child has its command line only after it has become another program.
            while process::running(&component.command_lines()).unwrap().is_empty() {
                std::thread::yield_now();
            }
            let manifest = layout.manifests().join("pod.yaml").path();
            std::fs::write(&manifest, "pod").unwrap();
            assert_eq!(look(&layout, &component, stopped, &Turn::take()).unwrap(), None, "it is not held");
            assert!(manifest.exists() && child.try_wait().unwrap().is_none());
            hold::take(&layout, &component).unwrap();
            std::fs::write(&manifest, "pod").unwrap();
            let found = look(&layout, &component, stopped, &Turn::take()).unwrap().unwrap();
            assert!(found.reappeared.as_ref().is_some_and(|reappeared| reappeared.equal_bytes) && !manifest.exists());
            assert_eq!((found.component.as_str(), found.ended), (name, usize::from(ends)));
            if ends {
                assert!(!child.wait().unwrap().success());
                assert_eq!(look(&layout, &component, stopped, &Turn::take()).unwrap(), None);
            } else {
                assert!(child.try_wait().unwrap().is_none());
                child.kill().unwrap();
                child.wait().unwrap();
            }
        }
    }
}
