//! A systemd unit that starts etcd, and the files with variables that it names: what they set, as systemd reads them (systemd.unit(5),
//! systemd.exec(5), systemd.service(5)).

use std::collections::BTreeMap;
use std::path::Path;

/// What counts of a unit with its drop-ins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Unit {
    environment: BTreeMap<String, String>,
    /// Files with variables, the last of which wins; those with a dash before them may be missing.
    pub(crate) environment_files: Vec<String>,
    /// The words of the command line.
    exec: Vec<String>,
    pub(crate) working_directory: Option<String>,
}

impl Unit {
    /// Takes the text of the unit, or of a drop-in after it. `name` is the unit's, without its suffix; `host` is the node's.
    pub(crate) fn take(&mut self, text: &str, name: &str, host: &str) {
        let mut section = String::new();
        for line in logical_lines(text) {
            let line = line.trim();
            if let Some(inner) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                section = inner.to_owned();
                continue;
            }
            let Some((key, value)) = line.split_once('=').filter(|_| section == "Service") else { continue };
            let value = specifiers(value.trim(), name, host);
            match key.trim() {
                "Environment" if value.is_empty() => self.environment.clear(),
                "Environment" => {
                    let pairs = words(&value).into_iter();
                    self.environment.extend(pairs.filter_map(|word| pair(&word)));
                }
                "EnvironmentFile" if value.is_empty() => self.environment_files.clear(),
                "EnvironmentFile" => self.environment_files.push(value.trim_start_matches('-').to_owned()),
                "ExecStart" if value.is_empty() => self.exec.clear(),
                "ExecStart" => self.exec = words(value.trim_start_matches(['@', '-', ':', '+', '!'])),
                "WorkingDirectory" => {
                    self.working_directory =
                        Some(value.trim_start_matches('-').to_owned()).filter(|dir| !dir.is_empty());
                }
                _ => {}
            }
        }
    }

    /// The variables, once those of the files are known, in the order of the files: a file wins over the unit.
    pub(crate) fn variables(
        &self,
        files: impl IntoIterator<Item = BTreeMap<String, String>>,
    ) -> BTreeMap<String, String> {
        files.into_iter().fold(self.environment.clone(), |mut all, file| {
            all.extend(file);
            all
        })
    }

    /// etcd's command line with its variables filled in; `None` if the unit starts something else, such as a container.
    pub(crate) fn command(&self, variables: &BTreeMap<String, String>) -> Option<Vec<String>> {
        let program = self.exec.first()?;
        if Path::new(program).file_name()? != "etcd" {
            return None;
        }
        Some(self.exec.iter().flat_map(|word| filled_in(word, variables)).collect())
    }
}

/// A file with variables.
pub(crate) fn environment_file(text: &str) -> BTreeMap<String, String> {
    let lines = logical_lines(text);
    lines
        .iter()
        .filter_map(|line| pair(line.trim().strip_prefix("export ").unwrap_or(line.trim())))
        .map(|(name, value)| (name, unquoted(&value)))
        .collect()
}

fn pair(text: &str) -> Option<(String, String)> {
    let (name, value) = text.split_once('=')?;
    let name = name.trim();
    let sound = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    sound.then(|| (name.to_owned(), value.trim().to_owned()))
}

/// Lines without comments, those that end with a backslash together with the next one.
fn logical_lines(text: &str) -> Vec<String> {
    let (mut lines, mut open) = (Vec::new(), String::new());
    for line in text.lines() {
        if line.trim_start().starts_with(['#', ';']) {
            continue;
        }
        match line.strip_suffix('\\') {
            Some(start) => {
                open.push_str(start);
                open.push(' ');
            }
            None => lines.push(std::mem::take(&mut open) + line),
        }
    }
    if !open.is_empty() {
        lines.push(open);
    }
    lines
}

/// The specifiers that units of etcd use. Any other stays as it is, so that a path with it is found nowhere.
fn specifiers(value: &str, name: &str, host: &str) -> String {
    let (mut out, mut chars) = (String::new(), value.chars());
    while let Some(char) = chars.next() {
        if char != '%' {
            out.push(char);
            continue;
        }
        match chars.next() {
            Some('%') => out.push('%'),
            Some('p' | 'N') => out.push_str(name),
            Some('n') => {
                out.push_str(name);
                out.push_str(".service");
            }
            Some('H') => out.push_str(host),
            other => {
                out.push('%');
                out.extend(other);
            }
        }
    }
    out
}

/// Words as systemd splits them: quotes hold words together, a backslash takes the next character as it is.
fn words(text: &str) -> Vec<String> {
    let (mut all, mut word, mut quote, mut chars) = (Vec::new(), None::<String>, None, text.chars());
    while let Some(char) = chars.next() {
        match (char, quote) {
            ('\\', _) => word.get_or_insert_default().extend(chars.next()),
            (char, Some(open)) if char == open => quote = None,
            ('"' | '\'', None) => {
                quote = Some(char);
                word.get_or_insert_default();
            }
            (char, None) if char.is_whitespace() => all.extend(word.take()),
            (char, _) => word.get_or_insert_default().push(char),
        }
    }
    all.extend(word);
    all
}

fn unquoted(value: &str) -> String {
    words(value).join(" ")
}

/// `${NAME}` anywhere in a word is its value; a word `$NAME` is the words of its value.
fn filled_in(word: &str, variables: &BTreeMap<String, String>) -> Vec<String> {
    let value = |name: &str| variables.get(name).map(String::as_str).unwrap_or_default();
    if let Some(name) = word.strip_prefix('$').filter(|name| !name.starts_with(['{', '$'])) {
        return words(value(name));
    }
    let (mut out, mut rest) = (String::new(), word);
    while let Some((before, after)) = rest.split_once("${") {
        out.push_str(before);
        match after.split_once('}') {
            Some((name, after)) => {
                out.push_str(value(name));
                rest = after;
            }
            None => return vec![word.to_owned()],
        }
    }
    vec![out + rest]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(text: &str) -> Unit {
        let mut unit = Unit::default();
        unit.take(text, "etcd", "cp1");
        unit
    }

    #[test]
    fn debians_unit() {
        let mut unit = unit(
            "[Unit]\nExecStart=/bin/no\n[Service]\nType=notify\nEnvironment=ETCD_DATA_DIR=/var/lib/etcd/default \\\n  \"ETCD_NAME=%H\"\n\
             EnvironmentFile=-/etc/default/%p\nExecStart=/usr/bin/etcd $DAEMON_ARGS\n",
        );
        assert_eq!(unit.environment_files, ["/etc/default/etcd"]);
        let file = environment_file(
            "# --data-dir\n  DAEMON_ARGS=\"--name 'a b' --data-dir=/d\"\nexport ETCD_NAME=x\nno pair\n",
        );
        let variables = unit.variables([file]);
        assert_eq!(
            (variables["ETCD_NAME"].as_str(), variables["ETCD_DATA_DIR"].as_str()),
            ("x", "/var/lib/etcd/default")
        );
        assert_eq!(unit.command(&variables).unwrap(), ["/usr/bin/etcd", "--name", "a b", "--data-dir=/d"]);
        // A drop-in that begins anew.
        unit.take("[Service]\nExecStart=\nExecStart=-/opt/etcd --data-dir ${ETCD_DATA_DIR}/x%%\n", "etcd", "cp1");
        assert_eq!(unit.command(&variables).unwrap(), ["/opt/etcd", "--data-dir", "/var/lib/etcd/default/x%"]);
    }

    #[test]
    fn kubesprays_unit_and_a_container() {
        let unit1 = unit("[Service]\nUser=root\nEnvironmentFile=/etc/etcd.env\nExecStart=/usr/local/bin/etcd\n");
        assert_eq!(unit1.environment_files, ["/etc/etcd.env"]);
        assert_eq!(unit1.command(&BTreeMap::new()).unwrap(), ["/usr/local/bin/etcd"]);
        let unit2 = unit("[Service]\nExecStart=/usr/bin/docker run --name etcd -v /a:/b quay.io/etcd --data-dir /b\n");
        assert_eq!(unit2.command(&BTreeMap::new()), None);
        assert_eq!(unit("").command(&BTreeMap::new()), None);
    }

    #[test]
    fn odd_texts_are_read_without_harm() {
        for text in [
            "[Service]\nExecStart=\"",
            "[Service\nExecStart=a",
            "[Service]\nExecStart=etcd ${",
            "[Service]\nEnvironment==\n\\",
        ] {
            let unit = unit(text);
            let _any = unit.command(&unit.variables([]));
        }
        assert_eq!(words(r#"a "b c"d '' e\ f"#), ["a", "b cd", "", "e f"]);
    }
}
