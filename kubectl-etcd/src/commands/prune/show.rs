//! The plan of a prune as text.

use etcd_store::retention::{self, Decided, Plan};
use etcd_store::{Backups, ClusterUid, LeftOver, Object, PartFile, Scope};
use jiff::Timestamp;
use serde::Serialize;

use crate::output::{API_VERSION, Format, Outcome, Printer, Table, bytes, print_data, seconds, timestamp};

/// What is shown before it is asked for, and then done.
#[derive(Debug)]
pub(super) struct Proposal {
    store: String,
    cluster: ClusterUid,
    name: Option<String>,
    pub(super) plan: Plan,
    /// What is suspect, and why.
    suspects: Vec<(String, String)>,
    left_overs: Vec<LeftOver>,
    /// Files of writers that were killed.
    part_files: Vec<PartFile>,
    with_left_overs: bool,
}

impl Proposal {
    pub(super) fn of(
        scope: &Scope,
        cluster: &ClusterUid,
        name: Option<String>,
        backups: &Backups,
        plan: Plan,
        with_left_overs: bool,
        now: Timestamp,
    ) -> Proposal {
        let suspects = backups.suspects.iter().filter(|suspect| suspect.cluster == *cluster);
        Proposal {
            store: scope.store.to_string(),
            cluster: cluster.clone(),
            name,
            plan,
            suspects: suspects.map(|one| (one.name.to_string(), format!("suspect: {}", one.doubt))).collect(),
            left_overs: retention::left_overs(&backups.left_overs, cluster, now).cloned().collect(),
            part_files: Vec::new(),
            with_left_overs,
        }
    }

    /// The same with those files of writers whose writer has gone.
    pub(super) fn with_part_files(self, files: Vec<PartFile>, now: Timestamp) -> Proposal {
        Proposal { part_files: files.into_iter().filter(|file| file.is_left_over(now)).collect(), ..self }
    }

    /// What the cluster is called: what has to be typed.
    pub(super) fn called(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.cluster.to_string())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.deletions().next().is_none() && self.deleted_files().next().is_none()
    }

    /// What is deleted, the oldest backup first.
    pub(super) fn deletions(&self) -> impl Iterator<Item = (String, &[Object])> {
        let backups = self.plan.deleted().map(|one| (one.backup.name.to_string(), one.backup.objects.as_slice()));
        let left_overs = self.left_overs.iter().filter(|_| self.deletes_left_overs());
        backups.chain(left_overs.map(|left| (left.name.to_string(), left.objects.as_slice())))
    }

    /// The files of writers that were killed, as far as they are deleted.
    pub(super) fn deleted_files(&self) -> impl Iterator<Item = &PartFile> {
        self.part_files.iter().filter(|_| self.deletes_left_overs())
    }

    fn deletes_left_overs(&self) -> bool {
        self.with_left_overs && self.plan.held.is_none()
    }

    /// Name, age in seconds and size of what is left over, and why it is.
    fn rest(&self, now: Timestamp) -> impl Iterator<Item = (String, i64, u64, &'static str)> {
        let of = |left: &LeftOver| (left.name.to_string(), left.age(now).as_secs(), left.size(), "no-record");
        let of_file = move |file: &PartFile| (file.name().to_owned(), file.age(now).as_secs(), file.size, "not-whole");
        let backups: Vec<_> = self.left_overs.iter().map(of).collect();
        backups.into_iter().chain(self.part_files.iter().map(of_file))
    }

    pub(super) fn show(&self, format: Format, now: Timestamp, printer: Printer) -> Outcome {
        let passed_over = self.plan.passed_over.iter().map(|(name, why)| (name.to_string(), why.clone()));
        let foreign = self.plan.decided.iter().flat_map(|one| &one.backup.foreign);
        let foreign = foreign.map(|object| (object.key.file(), "foreign: no record names it".to_owned()));
        let not_ours: Vec<(String, String)> = self.suspects.iter().cloned().chain(passed_over).chain(foreign).collect();
        let document = Document {
            api_version: API_VERSION,
            kind: "PrunePlan",
            store: &self.store,
            cluster: self.name.as_deref(),
            kube_system_uid: self.cluster.as_str(),
            held: self.plan.held.as_deref(),
            backups: self.plan.decided.iter().map(Row::of).collect(),
            untouched: not_ours.iter().map(|(name, reason)| Untouched { name, reason }).collect(),
            left_overs: self
                .rest(now)
                .map(|(name, _, size, reason)| Left { name, size, reason, delete: self.deletes_left_overs() })
                .collect(),
        };
        print_data(printer, format, &document, || self.table(&not_ours, now))?;
        let gone: Vec<&Decided> = self.plan.deleted().collect();
        let size = gone.iter().fold(0_u64, |sum, one| sum.saturating_add(one.backup.size));
        printer.note(format!(
            "{} of {} backups of cluster {} are to be deleted ({})",
            gone.len(),
            self.plan.decided.len(),
            self.called(),
            bytes(size)
        ));
        if !self.with_left_overs && !self.left_overs.is_empty() {
            let count = self.left_overs.len();
            printer.note(format!(
                "{count} unfinished backup(s) older than 7 days have no record; delete them with --left-overs"
            ));
        }
        if !self.with_left_overs && !self.part_files.is_empty() {
            let count = self.part_files.len();
            printer
                .note(format!("{count} file(s) of writers that were killed lie there; delete them with --left-overs"));
        }
        Ok(())
    }

    fn table(&self, untouched: &[(String, String)], now: Timestamp) -> String {
        let mut table = Table::new(&["NAME", "AGE", "SIZE", "LEVEL", "ACTION", "REASON"]);
        for one in &self.plan.decided {
            let kept: Vec<&str> = one.kept.iter().map(|why| why.word()).collect();
            table.row(vec![
                one.backup.name.to_string(),
                seconds(one.backup.age(now).as_secs()),
                bytes(one.backup.size),
                one.level.to_string(),
                if kept.is_empty() { "delete" } else { "keep" }.to_owned(),
                kept.join(","),
            ]);
        }
        for (name, why) in untouched {
            let unknown = String::new;
            table.row(vec![name.clone(), unknown(), unknown(), unknown(), "ignore".to_owned(), why.clone()]);
        }
        for (name, age, size, reason) in self.rest(now) {
            let action = if self.deletes_left_overs() { "delete" } else { "ignore" };
            table.row(vec![name, seconds(age), bytes(size), String::new(), action.to_owned(), reason.to_owned()]);
        }
        table.to_string()
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    api_version: &'static str,
    kind: &'static str,
    store: &'a str,
    cluster: Option<&'a str>,
    kube_system_uid: &'a str,
    /// Why nothing is deleted.
    held: Option<&'a str>,
    backups: Vec<Row>,
    untouched: Vec<Untouched<'a>>,
    left_overs: Vec<Left>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    name: String,
    class: &'static str,
    taken_at: String,
    size: u64,
    level: &'static str,
    delete: bool,
    kept: Vec<&'static str>,
}

impl Row {
    fn of(one: &Decided) -> Row {
        Row {
            name: one.backup.name.to_string(),
            class: one.backup.name.class().word(),
            taken_at: timestamp(one.backup.time()),
            size: one.backup.size,
            level: one.level.word(),
            delete: one.kept.is_empty(),
            kept: one.kept.iter().map(|why| why.word()).collect(),
        }
    }
}

#[derive(Serialize)]
struct Untouched<'a> {
    name: &'a str,
    reason: &'a str,
}

#[derive(Serialize)]
struct Left {
    name: String,
    size: u64,
    reason: &'static str,
    delete: bool,
}
