//! Random histories, the same for the same seed, driven against a real server.

use etcd_client::{
    AlarmAction, AlarmType, CompactionOptions, Compare, CompareOp, DeleteOptions, Error, LeaseGrantOptions, Permission,
    PutOptions, Txn, TxnOp,
};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, RngCore, SeedableRng};
use tonic::Code;

use crate::{Live, Server};

/// The user that may do everything, once auth is on, and its password.
pub const ROOT: (&str, &str) = ("root", "toor");
/// A user that may read one key.
pub const READER: (&str, &str) = ("reader", "secret");
/// etcd takes no more operations in a transaction.
const MAX_TXN_OPS: usize = 128;
/// Bytes of a page.
const PAGE: usize = 4096;

/// What is common to all of a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// How many keys there are to write to.
    pub keys: u32,
    /// Bytes of the largest value.
    pub largest_value: usize,
    /// Whether auth is turned on.
    pub auth: bool,
}

impl Shape {
    /// A random one: most small, some with many keys, some with values that overflow pages.
    pub fn random(rng: &mut StdRng) -> Shape {
        Shape {
            keys: *[2, 30, 300, 4000].choose(rng).expect("not empty"),
            largest_value: *[0, 40, 900, 5000, 70_000, 1_500_000].choose(rng).expect("not empty"),
            auth: rng.random_ratio(1, 6),
        }
    }
}

/// A history that goes on.
pub struct History {
    rng: StdRng,
    shape: Shape,
    live: Live,
    leases: Vec<i64>,
    next_lease: i64,
    compacted: i64,
    alarm: Option<AlarmType>,
    auth_on: bool,
}

impl History {
    /// One that begins on a fresh server.
    pub async fn begin(seed: u64, server: &Server) -> History {
        let mut rng = StdRng::seed_from_u64(seed);
        let shape = Shape::random(&mut rng);
        Self::begin_with(rng, shape, server).await
    }

    /// One of a given shape.
    pub async fn begin_with(rng: StdRng, shape: Shape, server: &Server) -> History {
        let live = server.client().await;
        let (leases, next_lease) = (Vec::new(), 0x1000);
        History { rng, shape, live, leases, next_lease, compacted: 0, alarm: None, auth_on: false }
    }

    /// A client that may read everything, of a member that has applied all there is.
    pub fn live(&mut self) -> &mut Live {
        &mut self.live
    }

    /// The alarm that is on.
    pub fn alarm(&self) -> Option<AlarmType> {
        self.alarm
    }

    /// Whether clients must say who they are.
    pub fn auth_on(&self) -> bool {
        self.auth_on
    }

    /// Up to which revision the history is compacted; 0 if it is not.
    pub fn compacted(&self) -> i64 {
        self.compacted
    }

    /// How many leases there are.
    pub fn leases(&self) -> usize {
        self.leases.len()
    }

    /// Connects again, to a server that was started again.
    pub async fn reconnect(&mut self, server: &Server) {
        self.live = Live::connect(&server.setup.client_url(), self.auth_on.then_some(ROOT)).await;
    }

    /// Goes on for some random steps.
    pub async fn advance(&mut self, server: &Server) {
        let steps = *[1, 3, 10, 30].choose(&mut self.rng).expect("not empty");
        for _ in 0..self.rng.random_range(1..=steps) {
            self.step(server).await;
        }
    }

    /// Does one random thing.
    pub async fn step(&mut self, server: &Server) {
        if self.alarm.is_some() && self.rng.random_ratio(1, 6) {
            return self.toggle_alarm().await;
        }
        match self.rng.random_range(0..100) {
            0..30 => self.put().await,
            30..48 => self.transaction().await,
            48..56 => {
                for _ in 0..self.rng.random_range(1..=self.shape.keys.div_ceil(100)) {
                    self.burst().await;
                }
            }
            56..66 => self.delete().await,
            66..71 => self.delete_range().await,
            71..77 => self.grant().await,
            77..80 => self.revoke().await,
            80..89 => self.compact().await,
            89..92 => _ = self.live.client.defragment().await.expect("a defragmentation"),
            92..95 => self.account().await,
            95..97 if self.shape.auth && !self.auth_on => self.enable_auth(server).await,
            97..98 if self.auth_on => self.disable_auth(server).await,
            98 => self.toggle_alarm().await,
            _ => self.put().await,
        }
    }

    fn key(&mut self) -> Vec<u8> {
        let number = self.rng.random_range(0..self.shape.keys);
        match number % 7 {
            0 => format!("/registry/pods/default/pod-{number:05}").into_bytes(),
            1 => format!("/registry/events/kube-system/{number}.{:016x}", u64::from(number) << 40).into_bytes(),
            2 => vec![0, u8::try_from(number % 256).expect("below 256"), 0xff],
            3 => [&b"k"[..], &number.to_be_bytes()].concat(),
            4 => format!("long/{}/{number}", "x".repeat(number as usize % 700)).into_bytes(),
            5 => vec![u8::try_from(number % 256).expect("below 256")],
            _ => format!("{number}").into_bytes(),
        }
    }

    fn value(&mut self) -> Vec<u8> {
        let largest = self.shape.largest_value;
        let length = match self.rng.random_range(0..12) {
            0 => 0,
            // Around the sizes at which bbolt splits and overflows.
            1 => PAGE.saturating_sub(self.rng.random_range(0..140)).min(largest),
            2 => (PAGE * self.rng.random_range(1..5)).saturating_sub(self.rng.random_range(0..140)).min(largest),
            3 if largest <= 70_000 || self.rng.random_ratio(1, 4) => largest,
            _ => self.rng.random_range(0..=largest.min(700)),
        };
        let mut value = vec![0; length];
        self.rng.fill_bytes(&mut value);
        value
    }

    /// A lease to attach a key to; none mostly.
    fn lease(&mut self) -> i64 {
        if self.rng.random_ratio(1, 4) { self.leases.choose(&mut self.rng).copied().unwrap_or(0) } else { 0 }
    }

    /// Takes the answer to a write; while an alarm is on, etcd may refuse it.
    #[track_caller]
    fn written<T>(&self, answer: Result<T, Error>) -> Option<T> {
        match answer {
            Ok(answer) => Some(answer),
            Err(Error::GRpcStatus(status))
                if self.alarm.is_some() && matches!(status.code(), Code::ResourceExhausted | Code::DataLoss) =>
            {
                None
            }
            Err(error) => panic!("a write is refused: {error}"),
        }
    }

    async fn put(&mut self) {
        let (key, value, lease) = (self.key(), self.value(), self.lease());
        let answer = self.live.client.put(key, value, Some(PutOptions::new().with_lease(lease))).await;
        self.written(answer);
    }

    /// Puts and deletions in one revision, so that rows have subs; sometimes one that does nothing.
    async fn transaction(&mut self) {
        let mut operations = Vec::new();
        let mut seen = std::collections::HashSet::new();
        for _ in 0..self.rng.random_range(1..12) {
            let key = self.key();
            if !seen.insert(key.clone()) {
                continue;
            }
            operations.push(match self.rng.random_range(0..10) {
                0..6 => {
                    let (value, lease) = (self.value(), self.lease());
                    let value = if value.len() > 100_000 { vec![7; 100_000] } else { value };
                    TxnOp::put(key, value, Some(PutOptions::new().with_lease(lease)))
                }
                6..9 => TxnOp::delete(key, None),
                _ => TxnOp::get(key, None),
            });
        }
        let compared = self.key();
        let exists = Compare::version(compared.clone(), CompareOp::Greater, 0);
        let refresh = TxnOp::put(compared.clone(), "", Some(PutOptions::new().with_ignore_value()));
        let txn = match self.rng.random_range(0..4) {
            // Another lease or none, and the same value.
            0 => Txn::new().when([exists]).and_then([refresh]).or_else(operations),
            1 => Txn::new().when([exists]).or_else(operations),
            _ => Txn::new().and_then(operations),
        };
        let answer = self.live.client.txn(txn).await;
        self.written(answer);
    }

    /// Many keys in one revision.
    async fn burst(&mut self) {
        let keys: std::collections::HashSet<Vec<u8>> =
            (0..self.rng.random_range(1..=MAX_TXN_OPS)).map(|_| self.key()).collect();
        let mut keys: Vec<Vec<u8>> = keys.into_iter().collect();
        keys.sort();
        let length = self.rng.random_range(0..=self.shape.largest_value.min(300));
        let puts: Vec<TxnOp> = keys.into_iter().map(|key| TxnOp::put(key, vec![b'v'; length], None)).collect();
        let answer = self.live.client.txn(Txn::new().and_then(puts)).await;
        self.written(answer);
    }

    async fn delete(&mut self) {
        let key = self.key();
        let answer = self.live.client.delete(key, None).await;
        self.written(answer);
    }

    async fn delete_range(&mut self) {
        let (one, other) = (self.key(), self.key());
        let options = match self.rng.random_range(0..8) {
            0 => DeleteOptions::new().with_all_keys(),
            1 => DeleteOptions::new().with_from_key(),
            2 | 3 => DeleteOptions::new().with_prefix(),
            _ => DeleteOptions::new().with_range(one.clone().max(other.clone())),
        };
        let answer = self.live.client.delete(one.min(other), Some(options)).await;
        self.written(answer);
    }

    async fn grant(&mut self) {
        let ttl = self.rng.random_range(3600..1_000_000);
        let options = LeaseGrantOptions::new().with_id(self.next_lease);
        let answer = self.live.client.lease_grant(ttl, Some(options)).await;
        if self.written(answer).is_some() {
            self.leases.push(self.next_lease);
        }
        // Ids of all lengths.
        self.next_lease = self.next_lease.wrapping_mul(13) & i64::MAX | 1;
    }

    async fn revoke(&mut self) {
        if self.leases.is_empty() {
            return;
        }
        let index = self.rng.random_range(0..self.leases.len());
        let answer = self.live.client.lease_revoke(self.leases[index]).await;
        if self.written(answer).is_some() {
            self.leases.swap_remove(index);
        }
    }

    async fn compact(&mut self) {
        if self.alarm == Some(AlarmType::Corrupt) {
            return;
        }
        let current = self.live.revision().await;
        if current <= self.compacted {
            return;
        }
        // Often at the very end, where a tombstone may stand.
        let at =
            if self.rng.random_ratio(1, 2) { current } else { self.rng.random_range(self.compacted + 1..=current) };
        let mut options = CompactionOptions::new();
        if self.rng.random_ratio(1, 2) {
            options = options.with_physical();
        }
        self.live.client.compact(at, Some(options)).await.expect("a compaction");
        self.compacted = at;
    }

    /// A role and a user more; they live in buckets of their own.
    async fn account(&mut self) {
        if self.alarm.is_some() {
            return;
        }
        let number = self.rng.random_range(0..1_000_000);
        let (role, user) = (format!("role-{number}"), format!("user-{number}"));
        let client = &mut self.live.client;
        // The number may have come before.
        if client.role_add(role.as_str()).await.is_ok() {
            let permission = Permission::read_write("/registry/").with_prefix();
            client.role_grant_permission(role.as_str(), permission).await.expect("a permission");
            client.user_add(user.as_str(), "secret", None).await.expect("a user");
            client.user_grant_role(user, role).await.expect("a role for a user");
        }
    }

    async fn enable_auth(&mut self, server: &Server) {
        if self.alarm.is_some() {
            return;
        }
        let client = &mut self.live.client;
        if client.role_add(ROOT.0).await.is_ok() {
            client.user_add(ROOT.0, ROOT.1, None).await.expect("a user");
            client.user_grant_role(ROOT.0, ROOT.0).await.expect("a role for a user");
            client.role_add(READER.0).await.expect("a role");
            let permission = Permission::read("/registry/pods/default/pod-00000");
            client.role_grant_permission(READER.0, permission).await.expect("a permission");
            client.user_add(READER.0, READER.1, None).await.expect("a user");
            client.user_grant_role(READER.0, READER.0).await.expect("a role for a user");
        }
        client.auth_enable().await.expect("auth is turned on");
        self.auth_on = true;
        self.reconnect(server).await;
    }

    async fn disable_auth(&mut self, server: &Server) {
        self.live.client.auth_disable().await.expect("auth is turned off");
        self.auth_on = false;
        // Its token is void, and some versions say so even though they ask nobody for one.
        self.reconnect(server).await;
    }

    /// Raises an alarm as a member does, or ends the one that is on.
    async fn toggle_alarm(&mut self) {
        if let Some(kind) = self.alarm.take() {
            for (member, _) in self.live.alarms().await {
                self.set_alarm(AlarmAction::Deactivate, kind, member).await;
            }
        } else {
            let kind = if self.rng.random_ratio(1, 4) { AlarmType::Corrupt } else { AlarmType::Nospace };
            let status = self.live.client.status().await.expect("a status");
            self.set_alarm(AlarmAction::Activate, kind, status.leader()).await;
            self.alarm = Some(kind);
        }
    }

    async fn set_alarm(&mut self, action: AlarmAction, kind: AlarmType, member: u64) {
        let mut options = etcd_client::AlarmOptions::new();
        options.with_member(member);
        self.live.client.alarm(action, kind, Some(options)).await.expect("an alarm");
    }
}
