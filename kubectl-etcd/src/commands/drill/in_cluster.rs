//! A drill in a pod of the cluster, for whoever has no etcd program: the backup is opened here, and served there by the cluster's own etcd.

use etcd_drill::api_server::flags;
use etcd_drill::report::By;
use etcd_drill::{Clock, Drill};
use etcd_wire::drill::{DrillApiServer, DrillRequest, EncryptionConfig, MAX_ENCRYPTION_CONFIG};
use jiff::Timestamp;
use serde_json::Value;

use super::plan::Place;
use super::{Args, look, name, open, prove_in_store, show_plan, signer, tell};
use crate::commands::verify::Recorded;
use crate::contents::Contents;
use crate::context::Context;
use crate::control_plane::ControlPlane;
use crate::discovery::{ApiServer, EtcdPod, Overrides};
use crate::output::{Exit, Failed, Outcome, Progress, ResultExt as _};
use crate::road::SshArgs;
use crate::sidecar::{Operation, Stage, Upload, converse};

/// Drills in a pod.
///
/// # Errors
/// As without a cluster; and the pod cannot be made or does not run, or the road to it broke. The pod is deleted.
pub(super) async fn run(args: Args, context: Context) -> Outcome {
    let (begun, mut clock) = (Timestamp::now(), Clock::new());
    let key = args.attest.key()?;
    let keyring = args.file.keyring()?;
    let encryption_config = encryption_config(&args)?;
    let found = async {
        let plane = ControlPlane::open(&SshArgs::default(), &context).await?;
        let (member, api_server) = member(&plane, &args, &context).await?;
        Ok((plane, member, api_server))
    };
    let (plane, member, api_server) = context.interruptible(found).await.map_err(Failed::unchanged)?;
    if args.dry_run.is_some() {
        let (image, node, namespace) = (member.image, member.node, args.sidecar.pod_namespace.clone());
        let place = Place::Pod { image, node, namespace, api_server: member.api_server_image };
        return show_plan(&args, place, &context).await;
    }
    clock.skip();
    let file = open(&args, &context).await?;
    clock.lap("open", true);
    let (contents, _keys) = context.interruptible(look(file, keyring, &args, &context)).await?;
    let recorded = Recorded::of(contents.file(), &contents.report, context.printer);
    clock.lap("verify", true);
    let request = request(&contents, &recorded, encryption_config, api_server);
    let document = context.interruptible(serve(&plane, &member, &contents, request, &args, &context)).await?;
    let drill = of_pod(document, &contents, &member)?;
    let drill = drill.ordered(By::here(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION")), begun, clock);
    tell(&drill, &args, &context)?;
    prove_in_store(&args, contents.file(), &drill, key.as_ref(), &context).await
}

/// The text of the configuration that values are decrypted with. It has been read as one before.
fn encryption_config(args: &Args) -> Outcome<Option<EncryptionConfig>> {
    let Some(path) = args.file.encryption_config() else { return Ok(None) };
    let text = std::fs::read_to_string(path).or_fail(|| format!("cannot read {}", path.display()))?;
    if text.len() > MAX_ENCRYPTION_CONFIG {
        let most = MAX_ENCRYPTION_CONFIG >> 10;
        let failed = Failed::new(Exit::Refused, format!("{} is too large for a drill in a pod", path.display()));
        return Err(failed.cause(format!("it has {} bytes, and at most {most} KiB are sent", text.len())));
    }
    Ok(Some(EncryptionConfig(text)))
}

/// The member whose node and image are used: that of the node that was named, else the first whose node answers.
/// With it, if it is wanted, the API server of that node.
async fn member(plane: &ControlPlane, args: &Args, context: &Context) -> Outcome<(EtcdPod, Option<DrillApiServer>)> {
    let found = plane.find(context, &Overrides::default(), args.node.as_deref()).await?;
    let mut member = choose(found.members, args.node.is_some())?;
    let server = args.api_server.then(|| api_server(&member.node, &found.api_servers)).transpose()?;
    member.api_server_image = server.as_ref().map(|server| server.image.clone());
    Ok((member, server))
}

/// How a drill starts the API server of a node.
fn api_server(node: &str, all: &[ApiServer]) -> Outcome<DrillApiServer> {
    let refused = |why: String| {
        let failed = Failed::new(Exit::Refused, format!("cannot start the API server of node {node} in a drill"));
        failed.cause(why).hint("drill with etcd alone\n  kubectl etcd drill FILE --in-cluster")
    };
    let own = all.iter().find(|server| server.node == node && !server.image.is_empty());
    let own = own.ok_or_else(|| refused("no pod of kube-apiserver is there that can be seen".to_owned()))?;
    let flags = flags::kept(&own.flags).map_err(|flag| refused(format!("the value of {flag} is not known")))?;
    Ok(DrillApiServer { image: own.image.clone(), flags })
}

fn choose(members: Vec<EtcdPod>, named: bool) -> Outcome<EtcdPod> {
    let nodes: Vec<String> = members.iter().map(|member| member.node.clone()).collect();
    let good = |member: &EtcdPod| named || member.node_trouble.is_none();
    let member = members.into_iter().find(|member| good(member) && !member.image.is_empty());
    member.ok_or_else(|| {
        let failed = Failed::new(Exit::Refused, "no control-plane node can run the pod of a drill");
        let failed = failed.cause(format!("no node with a pod of etcd is ready: {}", nodes.join(", ")));
        failed.hint("drill on this machine\n  kubectl etcd drill FILE --etcd PATH")
    })
}

/// What the pod is told of the backup.
fn request(
    contents: &Contents,
    recorded: &Recorded,
    encryption_config: Option<EncryptionConfig>,
    api_server: Option<DrillApiServer>,
) -> DrillRequest {
    DrillRequest {
        name: name(contents),
        bytes: contents.report.file_size,
        prefix: Some(contents.prefix.as_str().to_owned()),
        signer: signer(contents.file()),
        cluster: recorded.cluster.clone(),
        kube_system_uid: recorded.kube_system_uid.clone(),
        taken_at: recorded.taken_at.clone(),
        etcd_version: recorded.etcd_version.clone(),
        revision: recorded.revision,
        hash_kv: recorded.hash_kv,
        encryption_config,
        api_server,
    }
}

/// Makes the pod, sends the snapshot to it, and has it served there. The pod is gone afterwards.
async fn serve(
    plane: &ControlPlane,
    member: &EtcdPod,
    contents: &Contents,
    request: DrillRequest,
    args: &Args,
    context: &Context,
) -> Outcome<Value> {
    let report = &contents.report;
    let upload = Upload {
        file: contents.file().clone(),
        bytes: report.file_size,
        sha256: report.file_sha256.clone(),
        raised_from: None,
    };
    let road = plane.road(&args.sidecar, context).await?;
    let room = room(report.file_size, report.total_size);
    let capability = if request.api_server.is_some() { "drillApiServer" } else { "drill" };
    let (sidecar, mut session) = converse(&road, member, Operation::Drill { room }, capability).await?;
    let bar = Progress::new(context.printer, &format!("node {}", member.node), upload.bytes);
    let served = match request.api_server {
        Some(_) => "etcd and the API server serve the snapshot",
        None => "etcd serves the snapshot",
    };
    let told = |stage| match stage {
        Stage::Sent(sent) => bar.update(sent, upload.bytes),
        Stage::Building => bar.turn(served),
    };
    let drilled = session.drill(&upload, request, told).await;
    drop(session);
    road.release(&sidecar).await;
    drilled
}

/// Bytes of the volume: what is sent, what a drill of it takes, and what a file system needs.
fn room(file: u64, snapshot: u64) -> u64 {
    file.saturating_add(etcd_drill::needs(snapshot)).saturating_add(64 << 20)
}

/// The document of the pod, if it is of what was sent.
fn of_pod(document: Value, contents: &Contents, member: &EtcdPod) -> Outcome<Drill> {
    let cannot = || "cannot use what the pod says of the drill".to_owned();
    let mut drill: Drill = serde_json::from_value(document).or_fail(cannot)?;
    let report = &contents.report;
    let same = drill.backup.size == report.file_size
        && report.file_sha256.as_ref().is_none_or(|ours| drill.backup.sha256.as_ref() == Some(ours));
    if !same {
        return Err(Failed::plain(cannot()).cause("it is of another snapshot than was sent"));
    }
    drill.etcd.image = Some(member.image.clone());
    drill.etcd.node = Some(member.node.clone());
    Ok(drill)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::NodeTrouble;

    #[test]
    fn the_first_node_that_answers_is_taken_unless_one_is_named() {
        let member = |node: &str, trouble: Option<NodeTrouble>| EtcdPod {
            node: node.to_owned(),
            image: "etcd:3.5".to_owned(),
            node_trouble: trouble,
            ..EtcdPod::default()
        };
        let silent = || Some(NodeTrouble::Silent { since: None });
        let members = || vec![member("cp1", silent()), member("cp2", None), member("cp3", None)];
        assert_eq!(choose(members(), false).unwrap().node, "cp2");
        assert_eq!(choose(vec![member("cp1", silent())], true).unwrap().node, "cp1");
        let failed = choose(vec![member("cp1", silent())], false).unwrap_err();
        assert_eq!(
            (failed.exit, failed.causes.as_slice()),
            (Exit::Refused, &["no node with a pod of etcd is ready: cp1".to_owned()][..])
        );
    }

    #[test]
    fn the_api_server_of_the_same_node_is_started_with_what_it_says_of_the_data() {
        let server = |node: &str, flags: &[&str]| ApiServer {
            node: node.to_owned(),
            image: format!("api-of-{node}:1"),
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            ..ApiServer::default()
        };
        let all = [server("cp1", &[]), server("cp2", &["--secure-port=6443", "--runtime-config=api/all=true"])];
        let own = api_server("cp2", &all).unwrap();
        assert_eq!((own.image.as_str(), own.flags), ("api-of-cp2:1", vec!["--runtime-config=api/all=true".to_owned()]));
        let failed = api_server("cp3", &all).unwrap_err();
        assert_eq!((failed.exit, failed.causes[0].contains("no pod of kube-apiserver")), (Exit::Refused, true));
        let failed = api_server("cp1", &[server("cp1", &["--feature-gates"])]).unwrap_err();
        assert_eq!(failed.causes, ["the value of --feature-gates is not known"]);
    }

    #[test]
    fn the_volume_has_room_for_what_is_sent_and_for_the_drill() {
        assert!(room(1 << 30, 1 << 30) > etcd_drill::needs(1 << 30) + (1 << 30));
        assert_eq!(room(u64::MAX, 1), u64::MAX);
    }
}
