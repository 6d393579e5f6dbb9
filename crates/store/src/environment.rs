//! Where credentials come from: variables of the process, as the stores' own tools name them. Never from a URL or a command line.

use std::collections::BTreeMap;
use std::fmt;

/// Variables of the process: `AWS_*`, `GOOGLE_*`, `AZURE_*`.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Those of this process. A variable that is not UTF-8 is left out: no credential is one.
    pub fn of_process() -> Environment {
        let known = |name: &str| ["AWS_", "GOOGLE_", "AZURE_"].iter().any(|prefix| name.starts_with(prefix));
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Environment(std::env::vars_os().filter_map(text).filter(|(name, _)| known(name)).collect())
    }

    /// These, and no others.
    pub fn from_map(variables: BTreeMap<String, String>) -> Environment {
        Environment(variables)
    }

    /// The first of these variables that is set and not empty.
    pub(crate) fn first(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.get(name))
    }

    /// A variable; nothing where it is empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

/// Names only: values are secrets.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_is_shown() {
        let environment = Environment::from_map([("AWS_SECRET_ACCESS_KEY".to_owned(), "hunter2".to_owned())].into());
        assert_eq!(format!("{environment:?}"), r#"{"AWS_SECRET_ACCESS_KEY"}"#);
        assert_eq!(environment.first(&["AWS_REGION", "AWS_SECRET_ACCESS_KEY"]), Some("hunter2"));
    }
}
