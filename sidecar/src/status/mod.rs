//! How the member on this node is.

pub(crate) mod command;

use std::os::unix::fs::MetadataExt;

use etcd_client::{Client, GetOptions};
use etcd_wire::Failure;
use etcd_wire::message::{
    Alarm, EtcdAccess, KUBE_SYSTEM, KubeSystem, Member, MemberStatus, NodeStatus, Owned, StatusRequest,
};
use tokio::time::timeout;

use crate::{certificate, etcd};

/// Longest value of namespace kube-system that is handed on: its labels and annotations are few.
const LONGEST: usize = 64 << 10;

/// Answers in every case: what etcd does not tell is said in its place.
pub(crate) async fn run(request: StatusRequest) -> NodeStatus {
    let certificates = request.certificates.iter().map(|path| certificate::describe(path)).collect();
    let data_dir = request.data_dir.as_deref().and_then(owned);
    match member(&request.etcd, request.kube_system.as_deref()).await {
        Ok(member) => NodeStatus { etcd: Some(member), failure: None, certificates, data_dir },
        Err(failure) => NodeStatus { etcd: None, failure: Some(failure), certificates, data_dir },
    }
}

/// Whose a folder is; `None` where that cannot be told, as where the pod does not see it.
fn owned(folder: &str) -> Option<Owned> {
    let looked = std::path::Path::new(folder).symlink_metadata();
    let looked = looked.inspect_err(|error| tracing::warn!("cannot look at {folder}: {error}")).ok()?;
    looked.is_dir().then(|| Owned { owner: looked.uid(), group: looked.gid(), mode: looked.mode() & 0o7777 })
}

async fn member(access: &EtcdAccess, key: Option<&str>) -> Result<MemberStatus, Failure> {
    let member = etcd::connect(access).await?;
    let (mut cluster, mut maintenance) = (member.client.cluster_client(), member.client.maintenance_client());
    // Alarms go through raft: a member without a leader is silent about them.
    let (members, alarms, kube_system) = tokio::join!(
        timeout(etcd::PATIENCE, cluster.member_list()),
        timeout(etcd::PATIENCE, maintenance.alarm(etcd_client::AlarmAction::Get, etcd_client::AlarmType::None, None)),
        async {
            match key {
                Some(key) => Some(kube_system(member.client.clone(), &member.endpoint, key).await),
                None => None,
            }
        },
    );
    let status = member.status.0;
    let header = status.header.unwrap_or_default();
    let mut errors = status.errors;
    let mut lost = |what: &str, why: String| {
        // A learner serves neither call in any version; that is no complaint.
        if !status.is_learner {
            errors.push(format!("{what} is not known: {why}"));
        }
    };
    let members = match members {
        Ok(Ok(list)) => list.0.members.into_iter().map(described).collect(),
        Ok(Err(error)) => {
            lost("the member list", error.to_string());
            Vec::new()
        }
        Err(_) => {
            lost("the member list", "no answer".to_owned());
            Vec::new()
        }
    };
    let alarms = match alarms {
        Ok(Ok(list)) => {
            list.0.alarms.into_iter().map(|a| Alarm { member_id: a.member_id, kind: kind(a.alarm) }).collect()
        }
        Ok(Err(error)) => {
            lost("the list of alarms", error.to_string());
            Vec::new()
        }
        Err(_) => {
            lost("the list of alarms", "no answer".to_owned());
            Vec::new()
        }
    };
    Ok(MemberStatus {
        endpoint: member.endpoint,
        cluster_id: header.cluster_id,
        member_id: header.member_id,
        leader_id: status.leader,
        version: status.version,
        storage_version: Some(status.storage_version).filter(|version| !version.is_empty()),
        db_size: status.db_size,
        db_size_in_use: status.db_size_in_use,
        quota: Some(status.db_size_quota).filter(|&quota| quota > 0),
        revision: header.revision,
        raft_term: status.raft_term,
        raft_index: status.raft_index,
        raft_applied_index: status.raft_applied_index,
        learner: status.is_learner,
        errors,
        members,
        alarms,
        kube_system,
    })
}

/// What this member has under the key, also where there is no leader.
async fn kube_system(mut client: Client, endpoint: &str, key: &str) -> KubeSystem {
    let unread = |why: String| KubeSystem::Unread { why };
    if !key.ends_with(KUBE_SYSTEM) {
        return unread(format!("{key:?} is not the key of namespace kube-system"));
    }
    let options = GetOptions::new().with_serializable();
    let answer = match timeout(etcd::PATIENCE, client.get(key, Some(options))).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => {
            let refused = etcd::refusal(endpoint, "read namespace kube-system at", &error);
            let texts = std::iter::once(refused.message).chain(refused.causes).chain(refused.hint);
            return unread(texts.collect::<Vec<_>>().join(": "));
        }
        Err(_) => return unread("no answer".to_owned()),
    };
    match answer.kvs().first() {
        None => KubeSystem::Absent,
        Some(pair) if pair.value().len() > LONGEST => unread(format!("it has {} bytes", pair.value().len())),
        Some(pair) => KubeSystem::Held { mod_revision: pair.mod_revision(), value: pair.value().to_vec() },
    }
}

fn described(member: etcd_client::proto::PbMember) -> Member {
    Member {
        id: member.id,
        name: member.name,
        peer_urls: member.peer_ur_ls,
        client_urls: member.client_ur_ls,
        learner: member.is_learner,
    }
}

/// Numbers of `etcdserverpb.AlarmType`.
fn kind(alarm: i32) -> String {
    match alarm {
        1 => "NOSPACE".to_owned(),
        2 => "CORRUPT".to_owned(),
        other => other.to_string(),
    }
}
