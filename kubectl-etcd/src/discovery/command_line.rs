//! Flags of a container's command line, as the programs of the control plane take them.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::{Container, Pod};

/// The words with which a pod's first container is started.
pub(super) fn of_pod(pod: &Pod) -> Vec<String> {
    pod.spec.as_ref().and_then(|spec| spec.containers.first()).map(of_container).unwrap_or_default()
}

/// The words with which a container is started. A script given to a shell is taken apart at white space.
pub(super) fn of_container(container: &Container) -> Vec<String> {
    let words = container.command.iter().flatten().chain(container.args.iter().flatten());
    if container.command.iter().flatten().any(|word| word == "-c") {
        words.flat_map(|word| word.split_whitespace()).map(|word| word.replace(['"', '\''], "")).collect()
    } else {
        words.cloned().collect()
    }
}

/// Flags by name, without dashes. The last one wins, as in Go's flag package.
#[derive(Debug, Default)]
pub(super) struct Flags(HashMap<String, String>);

impl Flags {
    /// Reads `--name=value`, `--name value` and the bare `--name` of a switch, with one dash or two.
    pub(super) fn parse(words: &[String]) -> Flags {
        let mut flags = HashMap::new();
        let mut words = words.iter().peekable();
        while let Some(word) = words.next() {
            let Some(flag) = word.strip_prefix('-').map(|rest| rest.strip_prefix('-').unwrap_or(rest)) else {
                continue;
            };
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, value.to_owned()),
                None => match words.next_if(|next| !next.starts_with('-')) {
                    Some(value) => (flag, value.clone()),
                    None => (flag, "true".to_owned()),
                },
            };
            flags.insert(name.to_owned(), value);
        }
        Flags(flags)
    }

    /// Adds what etcd reads from its environment: `ETCD_DATA_DIR` is `--data-dir`. Flags win.
    pub(super) fn with_environment(mut self, container: &Container) -> Flags {
        for variable in container.env.iter().flatten() {
            if let (Some(name), Some(value)) = (variable.name.strip_prefix("ETCD_"), &variable.value) {
                self.0.entry(name.to_lowercase().replace('_', "-")).or_insert_with(|| value.clone());
            }
        }
        self
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A value that is a list with commas.
    pub(super) fn list(&self, name: &str) -> Vec<String> {
        self.get(name).map(|value| value.split(',').map(|part| part.trim().to_owned()).collect()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_flag_is_read() {
        let words: Vec<String> = [
            "etcd",
            "--name=a",
            "-data-dir",
            "/d",
            "--client-cert-auth",
            "--listen-client-urls=https://a,https://b",
            "--name=b",
        ]
        .map(String::from)
        .to_vec();
        let flags = Flags::parse(&words);
        assert_eq!(
            (flags.get("name"), flags.get("data-dir"), flags.get("client-cert-auth")),
            (Some("b"), Some("/d"), Some("true"))
        );
        assert_eq!(flags.list("listen-client-urls"), ["https://a", "https://b"]);
        assert!(flags.list("nothing").is_empty());
    }

    #[test]
    fn a_shell_script_is_taken_apart() {
        let container = Container {
            command: Some(["sh", "-c", "exec etcd --name=x --data-dir='/d'"].map(String::from).to_vec()),
            ..Default::default()
        };
        let flags = Flags::parse(&of_container(&container));
        assert_eq!((flags.get("name"), flags.get("data-dir")), (Some("x"), Some("/d")));
    }
}
