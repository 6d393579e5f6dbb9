//! kubeconfig files as kubectl reads them (client-go's tools/clientcmd): which files, what they may look like, and how
//! they are merged. kube's own reader is stricter in some places (base64 in several lines) and looser in others (a second
//! document, a name that is there twice).

mod fields;
mod in_cluster;

use std::path::{Path, PathBuf};

use kube::config::Kubeconfig;

pub(crate) use in_cluster::Mount;

use crate::output::{Failed, Outcome, ResultExt};

/// The files of a list, merged: the first one that sets a value or a name counts. A file that is not there is passed over.
///
/// # Errors
/// A file that cannot be read or is no kubeconfig.
pub(crate) fn merged(paths: &[PathBuf]) -> Outcome<Kubeconfig> {
    paths.iter().filter(|path| path.exists()).try_fold(Kubeconfig::default(), |mut merged, path| {
        // An empty name is none: the next file's counts.
        merged.current_context = merged.current_context.filter(|name| !name.is_empty());
        merged.merge(read(path)?).or_fail(|| format!("cannot merge the kubeconfig file {}", path.display()))
    })
}

/// One file, which has to be there. It is read once and from its beginning to its end: it may be a pipe.
///
/// # Errors
/// As [`merged`].
pub(crate) fn read(path: &Path) -> Outcome<Kubeconfig> {
    let failed = || Failed::plain(format!("cannot read the kubeconfig file {}", path.display()));
    let bytes = std::fs::read(path).map_err(|error| failed().source(&error))?;
    let mut config = parse(&bytes).map_err(|why| failed().cause(why))?;
    resolve_paths(&mut config, path.parent().unwrap_or(Path::new("")));
    Ok(config)
}

/// A kubeconfig from the bytes of a file. An error names the field, never its value.
fn parse(bytes: &[u8]) -> Result<Kubeconfig, String> {
    let text = text(bytes).ok_or("it is not text")?;
    let options = serde_saphyr::options! {
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::LastWins,
        // The fields that are base64 stay so; `fields` decodes them.
        ignore_binary_tag_for_string: true,
        // A name such as `no` is a text; `fields` knows which fields are booleans.
        strict_booleans: true,
        // A snippet of the file may show a token.
        with_snippet: false,
    };
    // The first document alone counts.
    let mut reader = text.as_bytes();
    let first = serde_saphyr::read_with_options::<_, serde_json::Value>(&mut reader, options).next();
    let value = match first {
        Some(Ok(value)) => value,
        Some(Err(error)) => {
            let place = error.location();
            let place = place.map(|place| format!(" (line {}, column {})", place.line(), place.column()));
            return Err(format!("it is neither YAML nor JSON{}", place.unwrap_or_default()));
        }
        None => serde_json::Value::Null,
    };
    let value = fields::normalised(value)?;
    // Every field has been looked at; what serde would say of the rest may carry a value.
    serde_json::from_value(value).map_err(|_| "it does not have the form of a kubeconfig".to_owned())
}

/// UTF-8, or what a byte order mark says.
fn text(bytes: &[u8]) -> Option<String> {
    let wide = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let (pairs, rest) = bytes.as_chunks::<2>();
        let units: Vec<u16> = pairs.iter().map(|&pair| unit(pair)).collect();
        rest.is_empty().then(|| String::from_utf16(&units).ok())?
    };
    match bytes {
        [0xff, 0xfe, rest @ ..] => wide(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => wide(rest, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8(rest.to_vec()).ok(),
        _ => String::from_utf8(bytes.to_vec()).ok(),
    }
}

/// Makes relative paths those of the file's own folder. A command without a slash is looked for in `PATH`.
fn resolve_paths(config: &mut Kubeconfig, folder: &Path) {
    let resolve = |path: &mut Option<String>| {
        if let Some(text) = path.as_mut().filter(|text| !text.is_empty() && Path::new(text).is_relative())
            && let Some(resolved) = folder.join(&*text).to_str()
        {
            *text = resolved.to_owned();
        }
    };
    for cluster in config.clusters.iter_mut().filter_map(|named| named.cluster.as_mut()) {
        resolve(&mut cluster.certificate_authority);
    }
    for user in config.auth_infos.iter_mut().filter_map(|named| named.auth_info.as_mut()) {
        [&mut user.client_certificate, &mut user.client_key, &mut user.token_file].into_iter().for_each(resolve);
        if let Some(exec) = &mut user.exec
            && exec.command.as_ref().is_some_and(|command| command.contains('/'))
        {
            resolve(&mut exec.command);
        }
    }
}

#[cfg(test)]
mod tests;
