//! The member's keys, without their values: what a snapshot is compared with before it is restored.

use std::time::Duration;

use bytes::Bytes;
use etcd_client::{GetOptions, GetResponse};
use etcd_wire::message::{KeysDone, KeysRequest};
use etcd_wire::{Begin, CHUNK, Digest, End, Failure, FailureCode, Frame, KeyRecord, Outgoing, Sha256};
use tokio::time::timeout;

use crate::etcd::{self, Member};
use crate::serve::{Client, Stop};

/// Keys that are asked for at once: the member reads their values, too.
const PAGE: i64 = 2000;
/// How long the member may take for so many.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn run(request: KeysRequest, client: &mut Client) -> Result<KeysDone, Stop> {
    let mut member = client.during(etcd::connect(&request.etcd)).await??;
    // A page at a time, all of one revision.
    let mut page = client.during(read(&mut member, Vec::new(), 0)).await??;
    let (member_id, revision) = header(&page, &member)?;
    client.send(Frame::Begin(Begin { total: None })).await?;

    let (mut outgoing, mut digest) = (Outgoing::new(request.compression), Digest::new());
    let (mut gathered, mut count) = (Vec::new(), 0);
    loop {
        for pair in page.kvs() {
            let record = KeyRecord { mod_revision: pair.mod_revision(), key: pair.key() };
            record.encode(&mut gathered).map_err(|error| unfit(&error))?;
            count += 1;
        }
        let next = page.kvs().last().filter(|_| page.more()).map(|last| [last.key(), &[0]].concat());
        let whole = if next.is_some() { gathered.len() / CHUNK * CHUNK } else { gathered.len() };
        let rest = gathered.split_off(whole);
        for piece in gathered.chunks(CHUNK) {
            digest.update(piece);
            client.send(Frame::Data(outgoing.chunk(Bytes::copy_from_slice(piece)))).await?;
        }
        gathered = rest;
        match next {
            Some(from) => page = client.during(read(&mut member, from, revision)).await??,
            None => break,
        }
    }
    let end = End { length: outgoing.offset(), sha256: Sha256(digest.finish()) };
    let length = end.length;
    client.send(Frame::End(end)).await?;
    client.acknowledged(length).await?;
    Ok(KeysDone { member_id, revision, count })
}

/// The keys from one on; at revision 0, the newest ones.
async fn read(member: &mut Member, from: Vec<u8>, revision: i64) -> Result<GetResponse, Failure> {
    // A key of one zero byte is the least there is; as the end of a range it stands for "to the last".
    let from = if from.is_empty() { vec![0] } else { from };
    let options = GetOptions::new()
        .with_range(vec![0])
        .with_keys_only()
        .with_limit(PAGE)
        .with_revision(revision)
        // What this member has, also where there is no leader.
        .with_serializable();
    match timeout(PATIENCE, member.client.get(from, Some(options))).await {
        Ok(Ok(page)) => Ok(page),
        Ok(Err(error)) => Err(etcd::refusal(&member.endpoint, "list the keys of", &error)),
        Err(_) => {
            let message = format!("{} has not listed its keys within {} seconds", member.endpoint, PATIENCE.as_secs());
            Err(Failure::new(FailureCode::Etcd, message))
        }
    }
}

fn header(page: &GetResponse, member: &Member) -> Result<(u64, i64), Failure> {
    let header = page.header().map(|header| (header.member_id(), header.revision()));
    header.ok_or_else(|| Failure::new(FailureCode::Etcd, format!("{} answers without a header", member.endpoint)))
}

fn unfit(error: &etcd_wire::WireError) -> Failure {
    Failure::new(FailureCode::Etcd, "a key is too long to be listed").source(error)
}
