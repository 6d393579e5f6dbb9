//! Freshness as text.

use etcd_store::freshness::{Asked, State};
use etcd_store::{ClusterUid, Freshness, Scope, StoreError, metrics};
use serde::Serialize;

use crate::output::{self, API_VERSION, Outcome, Printer, Table, bytes, print_data, seconds, timestamp};

/// `-o`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// A line a cluster
    Table,
    /// One JSON object
    Json,
    /// The same as YAML
    Yaml,
    /// Metrics in Prometheus' text format
    Prometheus,
}

/// A cluster and its answer.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) uid: Option<ClusterUid>,
    pub(super) freshness: Freshness,
    /// What to do where nobody can tell.
    pub(super) hint: Option<String>,
}

impl Told {
    pub(super) fn of(uid: Option<ClusterUid>, freshness: Freshness) -> Told {
        Told { uid, freshness, hint: None }
    }

    /// Of a store that cannot be listed.
    pub(super) fn away(error: &StoreError) -> Told {
        let freshness = Freshness::cannot_tell(error.to_string());
        Told { uid: None, freshness, hint: error.hint() }
    }

    fn name(&self) -> Option<&str> {
        self.freshness.newest.as_ref().and_then(|newest| newest.record.cluster.name.as_deref())
    }

    fn item(&self) -> Item<'_> {
        let newest = self.freshness.newest.as_ref();
        Item {
            cluster: self.name(),
            kube_system_uid: self.uid.as_ref().map(ClusterUid::as_str),
            state: self.freshness.state.word(),
            fresh: (self.freshness.state != State::CannotTell).then_some(self.freshness.state == State::Fresh),
            reason: Some(self.freshness.why.as_str()).filter(|why| !why.is_empty()),
            name: newest.map(|newest| newest.backup.name.to_string()),
            taken_at: newest.map(|newest| timestamp(newest.backup.time())),
            age_seconds: newest.map(|newest| newest.age.as_secs()),
            revision: newest.map(etcd_store::freshness::Newest::revision),
            size: newest.map(|newest| newest.backup.size),
            level: newest.map(|newest| newest.level.word()),
            signed_by: newest.and_then(|newest| newest.signer.as_deref()),
            passed_over: self
                .freshness
                .passed_over
                .iter()
                .map(|(name, why)| PassedOver { name: name.to_string(), reason: why.to_string() })
                .collect(),
            suspects: self.freshness.suspects,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Item<'a> {
    cluster: Option<&'a str>,
    kube_system_uid: Option<&'a str>,
    state: &'static str,
    /// `null` where nobody can tell.
    fresh: Option<bool>,
    reason: Option<&'a str>,
    name: Option<String>,
    taken_at: Option<String>,
    age_seconds: Option<i64>,
    revision: Option<i64>,
    size: Option<u64>,
    level: Option<&'static str>,
    signed_by: Option<&'a str>,
    passed_over: Vec<PassedOver>,
    suspects: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PassedOver {
    name: String,
    reason: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct List<'a> {
    api_version: &'static str,
    kind: &'static str,
    store: String,
    max_age_seconds: i64,
    level: &'static str,
    items: Vec<Item<'a>>,
}

pub(super) fn show(format: Format, scope: &Scope, told: &[Told], asked: &Asked, printer: Printer) -> Outcome {
    let format = match format {
        Format::Prometheus => {
            let clusters = told.iter().filter_map(|one| Some((one.uid.as_ref()?, one.name(), &one.freshness)));
            let text = match told {
                [one] if one.uid.is_none() => metrics::text_of_store(&one.freshness),
                _ => metrics::text(clusters),
            };
            return printer.data(&text);
        }
        Format::Table => output::Format::Table,
        Format::Json => output::Format::Json,
        Format::Yaml => output::Format::Yaml,
    };
    let list = List {
        api_version: API_VERSION,
        kind: "BackupFreshness",
        store: scope.store.to_string(),
        max_age_seconds: asked.max_age.as_secs(),
        level: asked.level.word(),
        items: told.iter().map(Told::item).collect(),
    };
    print_data(printer, format, &list, || table(told))
}

fn table(told: &[Told]) -> String {
    let mut table = Table::new(&["CLUSTER", "STATE", "AGE", "REVISION", "SIZE", "LEVEL", "NAME"]);
    for one in told {
        let newest = one.freshness.newest.as_ref();
        let uid = one.uid.as_ref().map(ToString::to_string);
        let cell = |text: Option<String>| text.unwrap_or_default();
        table.row(vec![
            cell(one.name().map(str::to_owned).or(uid)),
            one.freshness.state.word().to_owned(),
            cell(newest.map(|newest| seconds(newest.age.as_secs()))),
            cell(newest.map(|newest| newest.revision().to_string())),
            cell(newest.map(|newest| bytes(newest.backup.size))),
            cell(newest.map(|newest| newest.level.to_string())),
            cell(newest.map(|newest| newest.backup.name.to_string())),
        ]);
    }
    table.to_string()
}
