//! Differences as text.

use serde::Serialize;

use super::difference::{Change, Difference};
use crate::output::API_VERSION;
use crate::output::{Table, visible};

/// Fields that a line of the table has room for.
const MOST_FIELDS: usize = 3;

/// What is printed as JSON.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    api_version: &'static str,
    kind: &'static str,
    /// What the two sides are called.
    first: String,
    second: String,
    /// Types that nobody has named, and that were not compared.
    left_out: Vec<String>,
    /// Why others were not.
    pub(super) failures: Vec<String>,
    pub(super) differences: Vec<Difference>,
    /// What may be done about the failures.
    #[serde(skip)]
    pub(super) hint: Option<String>,
}

impl Report {
    pub(super) fn new(
        (first, second): (String, String),
        mut differences: Vec<Difference>,
        left_out: Vec<String>,
        failures: Vec<String>,
    ) -> Report {
        differences.sort_by(|a, b| a.order().cmp(&b.order()));
        let (api_version, kind, hint) = (API_VERSION, "Differences", None);
        Report { api_version, kind, first, second, left_out, failures, differences, hint }
    }

    pub(super) fn table(&self, wide: bool) -> String {
        if self.differences.is_empty() {
            return String::new();
        }
        let mut table = Table::new(&["CHANGE", "RESOURCE", "NAMESPACE", "NAME", "FIELDS"]).fitted(wide);
        for one in &self.differences {
            let change = match one.change {
                Change::OnlyInFirst => only(short(&self.first, "FILE")),
                Change::OnlyInSecond => only(short(&self.second, "FILE2")),
                Change::Differs => "differs".to_owned(),
            };
            let fields = if wide { one.fields.join(", ") } else { few(&one.fields) };
            let fields = one.unreadable.as_ref().map_or(fields, |why| format!("<{why}>"));
            let namespace = one.namespace.clone().unwrap_or_default();
            table.row(vec![change, one.resource.clone(), namespace, one.name.clone(), fields]);
        }
        table.to_string()
    }

    /// A unified diff an object.
    pub(super) fn patches(&self) -> String {
        let one = |one: &Difference| match &one.unreadable {
            Some(why) => visible::name(&format!("# {}/{}: {why}", one.resource, one.name)).into_owned() + "\n",
            None => one.patch.clone(),
        };
        self.differences.iter().map(one).collect()
    }

    /// How many there are, in one line.
    pub(super) fn summary(&self) -> String {
        let count = |change: Change| self.differences.iter().filter(|one| one.change == change).count();
        let (first, second) = (only(&self.first), only(&self.second));
        format!(
            "{} {first}, {} {second}, {} differ",
            count(Change::OnlyInFirst),
            count(Change::OnlyInSecond),
            count(Change::Differs)
        )
    }
}

fn only(side: &str) -> String {
    if side == super::LIVE { "only live".to_owned() } else { format!("only in {side}") }
}

/// A side in a column: a long name as the usage has it.
fn short<'a>(side: &'a str, place: &'a str) -> &'a str {
    const MOST: usize = 12;
    if side.len() <= MOST { side } else { place }
}

fn few(fields: &[String]) -> String {
    let shown = fields.iter().take(MOST_FIELDS).cloned().collect::<Vec<_>>().join(", ");
    if fields.len() > MOST_FIELDS { format!("{shown}, ...") } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_fields_are_named() {
        let fields: Vec<String> = ["a", "b", "c", "d"].map(str::to_owned).into();
        assert_eq!(
            (few(&fields[..3]).as_str(), few(&fields).as_str(), few(&[]).as_str()),
            ("a, b, c", "a, b, c, ...", "")
        );
        assert_eq!((only("live").as_str(), only("a.db").as_str()), ("only live", "only in a.db"));
        assert_eq!((short("a.db", "FILE"), short("/backups/etcd-prod.db", "FILE2")), ("a.db", "FILE2"));
    }
}
