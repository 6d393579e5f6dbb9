//! Arming a node: its participant becomes a static pod, or [a unit](participant_unit). It needs no API server to run or to be started again, and a kubelet
//! does not end it when the API server that comes back has never heard of it.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use etcd_wire::restore::{ArmRequest, Control, DirectRequest, Identity, Operator, Runs};
use etcd_wire::{Failure, FailureCode};
use serde_json::{Value, json};

use super::ground::Ground;
use super::journal::storage;
use super::layout::{Layout, MANIFEST, STATE};
use super::participant_unit::{self, ParticipantUnit};
use super::{control, identity, network, own_binary, owner, records, units};
use crate::node::dir::{OURS, open_configured};
use crate::node::{Place, etcds};
use crate::on_node::OWN;

/// Label of the participant's pod: the restore that it takes part in.
const LABEL: &str = "kubectl-etcd/restore";
/// How long the kubelet may take to start the participant.
const START: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);

/// Puts the node's certificate beside its journal, and has the kubelet or systemd start the participant.
pub(super) fn place(layout: &Layout, ground: &Ground, request: &ArmRequest) -> Result<(), Failure> {
    let there = |what: String| {
        Failure::new(FailureCode::Busy, format!("{what} is already there")).hint("kubectl etcd restore --status")
    };
    if layout.node().participates_by_unit() {
        let unit = ParticipantUnit::here();
        if unit.placed()?.is_some() {
            return Err(there(format!("the unit {}", participant_unit::NAME)));
        }
        identity::write(layout, &request.identity)?;
        return unit.place(layout, &own_binary::put(layout, Path::new(OWN))?);
    }
    let target = layout.manifests().join(MANIFEST);
    if target.exists().map_err(|error| storage("look for a participant's manifest", &error))? {
        return Err(there(target.display()));
    }
    identity::write(layout, &request.identity)?;
    // A manifest that the kubelet has read.
    let like = ground.components.iter().find(|component| component.unit.is_none());
    let like = like.map(|component| layout.manifests().join(&component.file));
    let like = like.ok_or_else(|| Failure::new(FailureCode::Refused, "the kubelet starts nothing on this node"))?;
    write(layout, &pod(layout, ground, &program(layout, &request.runs)?), &like, Place::rename)
}

/// What the participant's container runs.
struct Program {
    image: String,
    /// A program of the node, where that of the image is not meant.
    own: Option<PathBuf>,
}

/// Sees to it that the node has what the participant runs.
fn program(layout: &Layout, runs: &Runs) -> Result<Program, Failure> {
    match runs {
        Runs::Image(image) => Ok(Program { image: image.clone(), own: None }),
        Runs::OwnBinary => {
            let parts = layout.node().parts;
            let plane = etcds::control_plane(Path::new("/"), &layout.manifests().path(), parts)?;
            // That of etcd, where the kubelet starts it.
            let etcd = plane.etcd.filter(|etcd| etcd.unit.is_none());
            let none = || Failure::new(FailureCode::Refused, "the kubelet starts nothing on this node");
            let of = etcd.or(plane.api_server).ok_or_else(none)?;
            if of.image.is_empty() {
                let message = format!("the manifest {} names no image for the participant", of.file);
                return Err(Failure::new(FailureCode::Refused, message));
            }
            let own = own_binary::put(layout, Path::new(OWN))?;
            Ok(Program { image: of.image, own: Some(own) })
        }
    }
}

/// Writes the participant's manifest, which gets its name among the manifests by `named`.
fn write(
    layout: &Layout,
    pod: &Value,
    like: &Place,
    named: fn(&Place, &Place) -> std::io::Result<()>,
) -> Result<(), Failure> {
    let target = layout.manifests().join(MANIFEST);
    let manifest = serde_json::to_vec_pretty(pod).expect("strings and numbers");
    let written = || -> std::io::Result<()> {
        // It gets its name among the manifests when it is whole: the kubelet reads what it finds.
        let draft = Place::new(layout.beside()).join(format!("{OURS}-{}.draft", layout.plan().id));
        draft.remove_file()?;
        let mut file = draft.create()?;
        let placed = file.write_all(&manifest).and_then(|()| {
            // Whatever confines the kubelet lets it read the manifests that are there.
            if let Some(like) = open_configured(&like.path())? {
                owner::give_label(&like, &file)?;
            }
            file.sync_all()?;
            named(&draft, &target)
        });
        if placed.is_err() {
            draft.remove_file()?;
        }
        placed
    };
    written().map_err(|error| storage("write the participant's manifest", &error))
}

/// Waits until the participant answers.
pub(super) async fn started(layout: &Layout) -> Result<(), Failure> {
    let begun = Instant::now();
    loop {
        match control::tell(layout, Control::Look, Duration::from_secs(2)).await {
            Ok(_) => return Ok(()),
            Err(failure) if begun.elapsed() > START => {
                let late = format!("the participant did not start within {}s", START.as_secs());
                let late = Failure::new(FailureCode::Refused, late).cause(&failure.message);
                let late = failure.causes.into_iter().fold(late, Failure::cause);
                let port = layout.plan().peer_port;
                return Err(
                    late.hint(format!("it listens on TCP port {port}; if that is taken, --peer-port names another"))
                );
            }
            Err(_) => tokio::time::sleep(POLL).await,
        }
    }
}

/// Has a participant run that is placed as a unit: systemd has to be told, and whoever placed it may have been cut off before. A kubelet needs nobody.
///
/// # Errors
/// systemd does not take the order.
pub(super) fn see_started(layout: &Layout) -> Result<(), Failure> {
    match layout.node().participates_by_unit() && is_placed(layout)? {
        true => ParticipantUnit::here().start(),
        false => Ok(()),
    }
}

/// Takes away what arming has placed. The kubelet, or systemd, then ends the participant. Another restore's is left alone.
pub(super) fn leave(layout: &Layout) -> Result<(), Failure> {
    let gone =
        |place: &Place| place.remove_file().map_err(|error| storage("remove what is not needed any more", &error));
    identity::remove(layout)?;
    if layout.node().participates_by_unit() {
        let unit = ParticipantUnit::here();
        let of_another = unit.placed()?.is_some_and(|text| !participant_unit::is_of(&text, &layout.plan().id));
        if of_another {
            return remove_program(layout);
        }
        unit.remove()?;
        remove_program(layout)?;
        // The last thing: it may end this process.
        unit.stop();
        return Ok(());
    }
    if is_placed(layout)? && gone(&layout.manifests().join(MANIFEST))? {
        layout.manifests().sync().map_err(|error| storage("remove the participant's manifest", &error))?;
    }
    remove_program(layout)
}

/// Takes the copy of the sidecar away that a restore's participant runs, unless a manifest or a unit names it.
pub(super) fn remove_program(layout: &Layout) -> Result<(), Failure> {
    if layout.node().participates_by_unit() {
        let unit = ParticipantUnit::here().placed()?;
        let names = |folder: &Path| unit.as_ref().is_some_and(|text| text.contains(&folder.display().to_string()));
        return own_binary::remove(layout, names);
    }
    let pod = placed(layout)?;
    own_binary::remove(layout, |folder| pod.as_ref().is_some_and(|pod| own_binary::names(pod, folder)))
}

/// Makes the participant of a restore that of the rollback that the node is armed for: the kubelet ends the one, and starts the other.
///
/// # Errors
/// The participant's manifest is not there, is not known, or cannot be written. It can be done again.
pub(super) fn pass_on(layout: &Layout) -> Result<(), Failure> {
    let refused = |what: &str| Failure::new(FailureCode::Storage, format!("cannot begin the rollback: {what}"));
    let back = layout.way_back().ok_or_else(|| refused("the restore has none"))?;
    identity::remove(layout)?;
    let target = layout.manifests().join(MANIFEST);
    if is_placed(&back)? {
        return target.sync_name().map_err(|error| storage("synchronise the participant's manifest", &error));
    }
    if !is_placed(layout)? {
        return Err(refused("the participant's manifest is gone"));
    }
    let bytes = target.read().map_err(|error| storage("read the participant's manifest", &error))?;
    let strange = || refused("the participant's manifest was changed");
    let mut pod: Value = serde_yaml_ng::from_slice(&bytes).map_err(|error| strange().source(&error))?;
    let id = &back.plan().id;
    let labels = pod.pointer_mut("/metadata/labels").and_then(Value::as_object_mut).ok_or_else(strange)?;
    labels.insert(LABEL.to_owned(), json!(id));
    *pod.pointer_mut("/spec/containers/0/args").ok_or_else(strange)? = json!(["participate", id]);
    write(&back, &pod, &target, Place::replace)
}

/// Whether this restore's participant has its manifest among the static pods, or its unit.
pub(super) fn is_placed(layout: &Layout) -> Result<bool, Failure> {
    if layout.node().participates_by_unit() {
        let unit = ParticipantUnit::here().placed()?;
        return Ok(unit.is_some_and(|text| participant_unit::is_of(&text, &layout.plan().id)));
    }
    Ok(placed(layout)?.is_some_and(|pod| pod["metadata"]["labels"][LABEL] == layout.plan().id))
}

/// The participant's manifest, whichever restore it is of.
fn placed(layout: &Layout) -> Result<Option<Value>, Failure> {
    let manifest = layout.manifests().join(MANIFEST);
    match manifest.read() {
        Ok(bytes) => serde_yaml_ng::from_slice(&bytes).map(Some).map_err(|error| {
            let message = format!("{} cannot be parsed", manifest.display());
            let failure = Failure::new(FailureCode::Storage, message).source(&error);
            failure.hint("another program has changed it: remove it if no restore is under way")
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(storage("look for the participant's manifest", &error)),
    }
}

/// How long a participant may take to hear an order.
const HEARS: Duration = Duration::from_secs(10);

/// Gives the participant of an unfinished restore an identity, an order, or both.
///
/// # Errors
/// [`FailureCode::Refused`]: no participant of this restore runs here, or it does not take the order. Anything else: it does not answer, or cannot use
/// the identity.
pub(crate) async fn direct(request: DirectRequest) -> Result<(), Failure> {
    let state = Place::new(STATE);
    let layout = tokio::task::block_in_place(|| participant(&state, &request.id))?;
    give(&layout, request.identity.as_ref(), request.order).await
}

/// The same, for an operator on the node.
///
/// # Errors
/// [`FailureCode::Refused`]: no participant runs here. [`FailureCode::Unreachable`]: it does not answer.
pub(super) async fn tell(layout: &Layout, identity: Option<&Identity>, order: Option<Operator>) -> Result<(), Failure> {
    // Nothing is written for one that does not run.
    control::tell(layout, Control::Look, HEARS).await.map_err(|failure| {
        failure.hint(match layout.node().participates_by_unit() {
            true => "look at its unit on the node: systemctl status kubectl-etcd-restore.service",
            false => "look for its container on the node: crictl pods --name kubectl-etcd-restore",
        })
    })?;
    give(layout, identity, order).await
}

async fn give(layout: &Layout, identity: Option<&Identity>, order: Option<Operator>) -> Result<(), Failure> {
    if let Some(identity) = identity {
        network::check(identity)?;
        tokio::task::block_in_place(|| identity::write(layout, identity))?;
        control::tell(layout, Control::Identity, HEARS).await?;
    }
    if let Some(order) = order {
        control::tell(layout, Control::Operator { order }, HEARS).await?;
    }
    Ok(())
}

/// The restore whose participant has its manifest here. A participant needs no journal but its own.
fn participant(state: &Place, id: &str) -> Result<Layout, Failure> {
    let found = records::of(state, id)?.filter(|(_, state)| state.armed).map(|(layout, _)| layout);
    if let Some(layout) = found
        && is_placed(&layout)?
    {
        return Ok(layout);
    }
    Err(Failure::new(FailureCode::Refused, format!("no participant of restore {id} runs on this node any more")))
}

/// The participant's pod. It sees the node's processes, because it has to end API servers, and writes where manifests and data are.
fn pod(layout: &Layout, ground: &Ground, program: &Program) -> Value {
    let node = layout.node();
    let roots = layout.roots().into_iter().map(|root| root.path().to_owned());
    let mut folders: Vec<PathBuf> =
        [layout.beside().to_owned(), PathBuf::from(STATE)].into_iter().chain(roots).collect();
    let etcd = node.etcd.credentials.iter().flat_map(|pair| [&pair.cert, &pair.key]).chain(&node.etcd.ca);
    let files = etcd.filter_map(|file| Path::new(file).parent().map(Path::to_owned));
    let read: BTreeSet<PathBuf> = files.chain(ground.folders()).collect();
    for folder in read {
        if !folders.iter().any(|known| folder.starts_with(known)) {
            folders.push(folder);
        }
    }
    let name = |index: usize| format!("host-{index}");
    let mut volumes: Vec<Value> = folders
        .iter()
        .enumerate()
        .map(|(index, path)| json!({"name": name(index), "hostPath": {"path": path, "type": "DirectoryOrCreate"}}))
        .collect();
    let mut mounts: Vec<Value> =
        folders.iter().enumerate().map(|(index, path)| json!({"name": name(index), "mountPath": path})).collect();
    if let Some(own) = &program.own {
        volumes.push(json!({"name": "program", "hostPath": {"path": own, "type": "File"}}));
        mounts.push(json!({"name": "program", "mountPath": own_binary::INSIDE, "readOnly": true}));
    }
    if ground.components.iter().any(|component| component.unit.is_some()) {
        // systemctl is the node's, with its libraries and the socket of its systemd; so are the files that the unit names.
        volumes.push(json!({"name": "node", "hostPath": {"path": "/", "type": "Directory"}}));
        mounts.push(json!({"name": "node", "mountPath": units::NODE}));
    }
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "kubectl-etcd-restore",
            "namespace": "kube-system",
            "labels": {"app.kubernetes.io/name": "etcd-sidecar", LABEL: layout.plan().id},
        },
        "spec": {
            "hostNetwork": true,
            "hostPID": true,
            "priorityClassName": "system-node-critical",
            "priority": 2_000_001_000,
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 5,
            "containers": [{
                "name": "sidecar",
                "image": program.image,
                "imagePullPolicy": "IfNotPresent",
                "args": ["participate", layout.plan().id],
                "securityContext": {"privileged": true, "runAsUser": 0, "runAsGroup": 0, "readOnlyRootFilesystem": true},
                "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}},
                "volumeMounts": mounts,
            }],
            "volumes": volumes,
        },
    });
    if program.own.is_some() {
        pod["spec"]["containers"][0]["command"] = json!([own_binary::INSIDE]);
    }
    pod
}

#[cfg(test)]
pub(super) mod tests {
    use etcd_wire::restore::{Identity, RestorePlan};
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

    use super::super::journal::{Entry, FORMAT, Journal, PROTOCOL};
    use super::super::layout::tests::plan;
    use super::super::own_binary::INSIDE;
    use super::*;
    use crate::node::manifests::tests::kubeadm;
    use crate::node::probe;

    /// A node of a restore whose journal says that it is armed. It has no components.
    pub(crate) fn armed(root: &Path, plan: RestorePlan) -> Layout {
        let layout = Layout::at(plan, "cp1", &root.join("state")).unwrap();
        for folder in [layout.state().path(), layout.manifests().path()] {
            std::fs::create_dir_all(folder).unwrap();
        }
        let server = json!({"host": "127.0.0.1", "port": 1, "tls": null});
        let ground = json!({
            "components": [], "checksAtStart": false, "etcd": server, "api": server, "apiIsOpen": false,
            "before": {"clusterId": 1, "revision": 1},
        });
        let mut journal = Journal::create(&layout.journal()).unwrap();
        let begun = Entry::Transaction {
            format: FORMAT,
            protocol: PROTOCOL,
            plan: Box::new(layout.plan().clone()),
            node: "cp1".into(),
            ground: serde_json::from_value(ground).unwrap(),
        };
        for entry in [begun, Entry::Protocol(etcd_transaction::Entry::Armed)] {
            journal.append(entry).unwrap();
        }
        layout
    }

    /// An identity that can be used.
    pub(crate) fn identity() -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        let own = KeyPair::generate().unwrap();
        let cert = CertificateParams::new(["cp1".to_owned()]).unwrap().signed_by(&own, &issuer).unwrap().pem();
        Identity { ca, cert, key: own.serialize_pem() }
    }

    fn place_manifest(layout: &Layout, id: &str) {
        let pod = json!({"metadata": {"labels": {LABEL: id}}}).to_string();
        std::fs::write(layout.manifests().join(MANIFEST).path(), pod).unwrap();
    }

    #[test]
    fn the_participant_of_a_restore_becomes_that_of_its_rollback() {
        for count in 0.. {
            let root = tempfile::tempdir().unwrap();
            let layout = armed(root.path(), plan(root.path()));
            let back = layout.way_back().unwrap();
            let manifest = layout.manifests().join(MANIFEST);
            assert!(pass_on(&layout).is_err() && !manifest.exists().unwrap(), "there is none");
            place_manifest(&layout, &layout.plan().id);
            assert!(pass_on(&layout).is_err() && is_placed(&layout).unwrap(), "that is no participant");
            let (_, state) = records::of(layout.state(), &layout.plan().id).unwrap().unwrap();
            let runs = Program { image: "image".to_owned(), own: Some(PathBuf::from("/program")) };
            let before = pod(&layout, &state.ground, &runs);
            std::fs::write(manifest.path(), before.to_string()).unwrap();
            identity::write(&layout, &identity()).unwrap();
            let (first, _) = probe::fail_after(count, || pass_on(&layout));
            assert!(is_placed(&layout).unwrap() != is_placed(&back).unwrap(), "{count}: there is one at every moment");
            for _ in 0..2 {
                pass_on(&layout).unwrap();
                let after: Value = serde_json::from_slice(&manifest.read().unwrap()).unwrap();
                assert_eq!(after, pod(&back, &state.ground, &runs), "{count}");
            }
            assert!(identity::read(&layout).unwrap().is_none());
            assert_eq!(layout.manifests().names().unwrap(), [MANIFEST]);
            if first.is_ok() {
                break;
            }
        }
    }

    /// Without an image of ours the participant runs a copy of this program, which is there as long as a manifest names it.
    #[test]
    fn a_participant_can_run_the_program_that_was_brought_to_the_node() {
        let kubeadm = kubeadm("cp1");
        let root = tempfile::tempdir().unwrap();
        let mut plan = plan(root.path());
        plan.nodes[0].manifests_dir = kubeadm.path().join("etc/manifests").display().to_string();
        let layout = armed(root.path(), plan);
        for entry in std::fs::read_dir(kubeadm.path()).unwrap().map(Result::unwrap).filter(|one| one.path().is_file()) {
            std::fs::rename(entry.path(), layout.manifests().path().join(entry.file_name())).unwrap();
        }
        let (_, state) = records::of(layout.state(), &layout.plan().id).unwrap().unwrap();
        let copy = own_binary::put(&layout, Path::new("/bin/true")).unwrap();
        let image = crate::node::Manifests::read(&layout.manifests().path()).unwrap().etcd.image;
        let runs = Program { image: image.clone(), own: Some(copy.clone()) };
        let pod = pod(&layout, &state.ground, &runs);
        let container = &pod["spec"]["containers"][0];
        assert!(image.contains("etcd:") && container["image"] == image, "{container}");
        assert_eq!((&container["command"], &container["imagePullPolicy"]), (&json!([INSIDE]), &json!("IfNotPresent")));
        let mounts = container["volumeMounts"].as_array().unwrap();
        assert!(mounts.contains(&json!({"name": "program", "mountPath": INSIDE, "readOnly": true})), "{mounts:?}");
        let volumes = pod["spec"]["volumes"].as_array().unwrap();
        let volume = json!({"name": "program", "hostPath": {"path": copy, "type": "File"}});
        assert!(volumes.contains(&volume), "{volumes:?}");
        // Only where systemd starts etcd is the whole node seen.
        let whole = json!({"name": "node", "mountPath": units::NODE});
        assert!(!mounts.contains(&whole), "{mounts:?}");
        let mut ground = state.ground.clone();
        let unit = json!({"path": "/etc/systemd/system/etcd.service", "settings": {}, "ran": true});
        let etcd = json!({"name": "etcd", "file": "etcd.service", "argv": ["/usr/bin/etcd"], "unit": unit});
        ground.components.push(serde_json::from_value(etcd).unwrap());
        let with_unit = super::pod(&layout, &ground, &runs);
        assert!(with_unit["spec"]["containers"][0]["volumeMounts"].as_array().unwrap().contains(&whole));

        std::fs::write(layout.manifests().join(MANIFEST).path(), pod.to_string()).unwrap();
        pass_on(&layout).unwrap();
        let back = layout.way_back().unwrap();
        // The restore leaves what its rollback runs.
        leave(&layout).unwrap();
        assert!(copy.exists() && is_placed(&back).unwrap());
        leave(&back).unwrap();
        assert!(!copy.exists() && !layout.manifests().join(MANIFEST).exists().unwrap());
        // It can be done again.
        leave(&back).unwrap();
        leave(&layout).unwrap();
    }

    #[test]
    fn a_participant_is_found_by_its_own_journal_alone() {
        let root = tempfile::tempdir().unwrap();
        let own = armed(root.path(), plan(root.path()));
        let id = own.plan().id.clone();
        let other = armed(root.path(), RestorePlan { id: "20261121-090000-other".into(), ..plan(root.path()) });
        place_manifest(&own, &id);
        assert_eq!(participant(own.state(), &id).unwrap().records(), own.records());
        // Whatever the other's is like, where all are asked for it is told.
        let text = std::fs::read(other.journal().path()).unwrap();
        std::fs::write(other.journal().path(), [b"damaged\n", &text[..]].concat()).unwrap();
        assert_eq!(participant(own.state(), &id).unwrap().records(), own.records());
        assert_eq!(records::known(own.state()).unwrap_err().code, FailureCode::Storage);
        assert_eq!(participant(own.state(), &other.plan().id).unwrap_err().code, FailureCode::Storage);
        // An ID with a path in it, and an ID of no restore.
        for unknown in ["", "..", "../state/20261121-100000-abcde", "20261121-110000-none"] {
            assert_eq!(participant(own.state(), unknown).unwrap_err().code, FailureCode::Refused, "{unknown:?}");
        }
        // A restore whose participant is not here, and one whose journal is damaged itself.
        place_manifest(&own, &other.plan().id);
        assert_eq!(participant(own.state(), &id).unwrap_err().code, FailureCode::Refused);
        place_manifest(&own, &id);
        std::fs::write(own.journal().path(), "damaged\ndamaged\n").unwrap();
        assert_eq!(participant(own.state(), &id).unwrap_err().code, FailureCode::Storage);
        assert_eq!(own.records().names().unwrap(), ["journal"]);
    }
}
