//! The list as text.

use std::path::Path;

use etcd_snapshot::Report;
use etcd_wire::message::CheckedCopy;
use jiff::Timestamp;
use serde::Serialize;

use super::Args;
use super::find::Candidate;
use crate::columns::human_duration;
use crate::commands::backup::taken_by_name;
use crate::commands::verify::{Checked, Verdict};
use crate::output::API_VERSION;
use crate::output::{self, Exit, Failed, Outcome, Printer, Table, bytes, print_data, timestamp, visible};
use crate::snapshot_file::{Compression, SnapshotFile};

/// `-o`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// A line a file
    Table,
    /// The same with more columns
    Wide,
    /// One JSON object
    Json,
    /// The same as YAML
    Yaml,
    /// Paths
    Name,
}

/// Whether a snapshot can be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whole {
    Yes,
    No,
    /// There is no digest that proves its bytes.
    Unproven,
    /// It was not looked at.
    Unchecked,
    /// It cannot be read.
    Unknown,
}

impl Whole {
    fn word(self) -> &'static str {
        match self {
            Whole::Yes => "yes",
            Whole::No => "no",
            Whole::Unproven => "unproven",
            Whole::Unchecked => "unchecked",
            Whole::Unknown => "unknown",
        }
    }
}

/// A file of the folder.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Row {
    pub(super) file: String,
    pub(super) path: String,
    /// Bytes of the file.
    pub(super) size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    compression: Option<Compression>,
    /// `null` where nobody can tell.
    #[serde(rename = "whole", serialize_with = "truth")]
    pub(super) whole: Whole,
    pub(super) state: &'static str,
    /// Why it is not whole, or cannot be read.
    pub(super) reason: Option<String>,
    pub(super) cluster: Option<String>,
    pub(super) kube_system_uid: Option<String>,
    pub(super) taken_at: Option<String>,
    pub(super) revision: Option<i64>,
    keys: Option<u64>,
    etcd_version: Option<String>,
}

fn truth<S: serde::Serializer>(whole: &Whole, serializer: S) -> Result<S::Ok, S::Error> {
    match whole {
        Whole::Yes => Some(true),
        Whole::No => Some(false),
        _ => None,
    }
    .serialize(serializer)
}

impl Row {
    fn of(candidate: &Candidate, whole: Whole) -> Row {
        Row {
            file: candidate.name.clone(),
            path: candidate.path.display().to_string(),
            size: candidate.size,
            compression: None,
            whole,
            state: whole.word(),
            reason: None,
            cluster: None,
            kube_system_uid: None,
            taken_at: None,
            revision: None,
            keys: None,
            etcd_version: None,
        }
    }

    /// Of a file that was checked and has no damage.
    pub(super) fn checked(candidate: &Candidate, file: &SnapshotFile, checked: &Checked) -> Row {
        let Verdict { state, cluster, kube_system_uid, taken_at, revision, keys } = Verdict::of(checked);
        let etcd_version = checked.recorded.etcd_version.clone().or_else(|| written_by(&checked.report));
        let compression = file.compression();
        Row {
            compression,
            cluster,
            kube_system_uid,
            taken_at,
            revision,
            keys,
            etcd_version,
            ..Row::of(candidate, state.into())
        }
    }

    /// Of a file that is not looked at: what was recorded beside it, if at least the size is the same.
    pub(super) fn recorded(candidate: &Candidate) -> Row {
        let Some(record) = &candidate.record else { return Row::of(candidate, Whole::Unchecked) };
        if record.size != candidate.size {
            let reason = format!("FILE.json records {} bytes, and the file has another size", record.size);
            return Row::wrong(candidate, Whole::No, reason);
        }
        Row {
            cluster: record.cluster.clone(),
            kube_system_uid: record.kube_system_uid.clone(),
            taken_at: record.taken_at.clone(),
            revision: record.revision,
            keys: None,
            etcd_version: record.etcd_version.clone(),
            ..Row::of(candidate, Whole::Unchecked)
        }
    }

    /// Of a file on a node, by what its check there has found, if it was checked. The time is that of its name.
    pub(super) fn on_node(candidate: &Candidate, checked: Option<&CheckedCopy>, cluster: Option<String>) -> Row {
        let file = candidate.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let taken_at = taken_by_name(&file).map(timestamp);
        match checked {
            None => Row { taken_at, ..Row::of(candidate, Whole::Unchecked) },
            Some(CheckedCopy { damage: Some(damage), .. }) => Row::wrong(candidate, Whole::No, damage.clone()),
            Some(checked) => Row {
                taken_at,
                cluster,
                kube_system_uid: checked.kube_system_uid.clone(),
                revision: checked.revision,
                ..Row::of(candidate, if checked.proven { Whole::Yes } else { Whole::Unproven })
            },
        }
    }

    /// Of a file with which something is wrong.
    pub(super) fn wrong(candidate: &Candidate, whole: Whole, reason: String) -> Row {
        Row { reason: Some(reason), ..Row::of(candidate, whole) }
    }

    /// Of a file that could not be checked.
    pub(super) fn failed(candidate: &Candidate, failed: &Failed) -> Row {
        let whole = if failed.exit == Exit::Damaged { Whole::No } else { Whole::Unknown };
        let path = format!("{} ", candidate.path.display());
        let message = failed.message.strip_prefix(path.as_str()).unwrap_or(&failed.message);
        let reason = failed.causes.first().cloned().unwrap_or_else(|| message.to_owned());
        Row::wrong(candidate, whole, reason)
    }
}

fn written_by(report: &Report) -> Option<String> {
    Some(format!("{}.x", report.writer)).filter(|_| !report.writer.is_empty())
}

/// The list as data.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct List<'a> {
    api_version: &'static str,
    kind: &'static str,
    folder: String,
    items: &'a [Row],
}

pub(super) fn show(args: &Args, folder: &Path, rows: &[Row], now: Timestamp, printer: Printer) -> Outcome {
    let format = match args.output {
        Format::Name => {
            return printer
                .data(&rows.iter().map(|row| visible::name(&row.path).into_owned() + "\n").collect::<String>());
        }
        Format::Table | Format::Wide if rows.is_empty() => {
            printer.note(format!("no snapshots found in {}", folder.display()));
            return Ok(());
        }
        Format::Table => output::Format::Table,
        Format::Wide => output::Format::Wide,
        Format::Json => output::Format::Json,
        Format::Yaml => output::Format::Yaml,
    };
    let folder = folder.display().to_string();
    let list = List { api_version: API_VERSION, kind: "SnapshotList", folder, items: rows };
    print_data(printer, format, &list, || table(rows, args.output == Format::Wide, now))
}

fn table(rows: &[Row], wide: bool, now: Timestamp) -> String {
    let mut headers = vec!["FILE", "CLUSTER", "AGE", "REVISION", "SIZE", "WHOLE"];
    if wide {
        headers.extend(["TAKEN", "KEYS", "ETCD", "KUBE-SYSTEM UID", "REASON"]);
    }
    let mut table = Table::new(&headers);
    let unknown = |text: Option<String>| text.unwrap_or_else(|| "<unknown>".to_owned());
    for row in rows {
        let taken: Option<Timestamp> = row.taken_at.as_deref().and_then(|taken| taken.parse().ok());
        let mut cells = vec![
            row.file.clone(),
            unknown(row.cluster.clone()),
            unknown(taken.map(|taken| human_duration(now.as_second() - taken.as_second()))),
            unknown(row.revision.map(|revision| revision.to_string())),
            bytes(row.size),
            row.state.to_owned(),
        ];
        if wide {
            cells.extend([
                unknown(row.taken_at.clone()),
                unknown(row.keys.map(|keys| keys.to_string())),
                unknown(row.etcd_version.clone()),
                unknown(row.kube_system_uid.clone()),
                row.reason.clone().unwrap_or_default(),
            ]);
        }
        table.row(cells);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::commands::verify::Record;

    fn candidate(size: u64, record: Option<Record>) -> Candidate {
        let name = "etcd-prod-eu-20261121T061640Z.db".to_owned();
        Candidate { path: PathBuf::from("/backups").join(&name), name, size, record }
    }

    fn record() -> Record {
        Record {
            size: 1_600_000_000,
            cluster: Some("prod-eu".to_owned()),
            taken_at: Some("2026-11-21T06:16:40Z".to_owned()),
            revision: Some(41_873),
            ..Record::default()
        }
    }

    #[test]
    fn a_row_fits_a_terminal_and_what_is_not_known_is_told() {
        let now = "2026-11-26T06:16:40Z".parse().expect("a time");
        let rows = [Row::recorded(&candidate(1_600_000_000, Some(record()))), Row::recorded(&candidate(7, None))];
        let text = table(&rows, false, now);
        assert_eq!(
            text.lines().nth(1),
            Some("etcd-prod-eu-20261121T061640Z.db   prod-eu     5d          41873       1.6 GB   unchecked")
        );
        assert!(text.lines().all(|line| line.len() < 100), "{text}");
        assert!(table(&rows[..1], false, now).lines().all(|line| line.len() <= 80));
        assert!(
            text.lines().nth(2).is_some_and(|line| line.contains("<unknown>   <unknown>   <unknown>   7 B")),
            "{text}"
        );
    }

    #[test]
    fn another_size_than_the_recorded_one_is_no_whole_file() {
        let row = Row::recorded(&candidate(1_599_999_999, Some(record())));
        assert_eq!((row.whole, row.cluster.as_deref()), (Whole::No, None));
        let json = serde_json::to_value(&row).expect("JSON");
        assert_eq!((&json["whole"], &json["state"]), (&serde_json::json!(false), &serde_json::json!("no")));
        let unchecked = serde_json::to_value(Row::recorded(&candidate(1_600_000_000, Some(record())))).expect("JSON");
        assert!(unchecked["whole"].is_null() && unchecked["cluster"] == "prod-eu");
    }
}
